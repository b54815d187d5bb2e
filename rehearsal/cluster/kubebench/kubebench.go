// Package kubebench runs kube-bench, which has the checks of the CIS Kubernetes Benchmark, on machines of a rehearsal.
// It compares the automated checks that fail with a list of those that this cluster fails on purpose.
package kubebench

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"eco2/rehearsal/supply/mirror"
)

const (
	// project is the module below rehearsal/supply/mirror/build that pins kube-bench.
	project = "kube-bench"
	version = "v0.12.0"
	// benchmark is the newest edition of the benchmark that this kube-bench has. kube-bench itself selects it for every
	// Kubernetes that is newer than the edition.
	benchmark = "cis-1.10"
)

// Role is what a machine is in the cluster.
type Role string

// The values of Role.
const (
	ControlPlane Role = "control plane"
	Worker       Role = "worker"
)

// runs returns the flags of each run of kube-bench on a machine.
func (r Role) runs() []string {
	if r == Worker {
		return []string{"--targets=node"}
	}
	// The checks of policies are about objects in the API. Its manual ones start several commands for each pod of the
	// cluster, which takes minutes.
	return []string{"--targets=master,controlplane,etcd,node", "--targets=policies --unscored=false"}
}

// Machine is a machine of a rehearsal, such as a docker.Machine.
type Machine interface {
	// Command returns a command that runs on the machine as root.
	Command(ctx context.Context, args ...string) *exec.Cmd
}

// Tool is a kube-bench that has been built.
type Tool struct{ programs, checks string }

// Build builds kube-bench if it is missing. repo is the checkout of the whole repository, and progress goes to out.
func Build(ctx context.Context, repo string, out io.Writer) (Tool, error) {
	built, err := mirror.BuildProject(ctx, repo, project, version, out)
	if err != nil {
		return Tool{}, err
	}
	return toolOf(ctx, built)
}

// Find finds what Build has built.
func Find(ctx context.Context, repo string) (Tool, error) {
	built, err := mirror.Find(repo, project)
	if err != nil {
		return Tool{}, err
	}
	return toolOf(ctx, built)
}

func toolOf(ctx context.Context, built mirror.Built) (Tool, error) {
	source, err := built.Source(ctx)
	return Tool{programs: filepath.Dir(built.Binary("kube-bench")), checks: filepath.Join(source, "cfg")}, err
}

// script unpacks the archive on its standard input and runs kube-bench, once for each argument.
//
// kube-bench gives its checks to /bin/sh. Some are written for bash, and fail on any cluster where that is dash, as on
// Debian and Ubuntu. So the script needs a mount namespace of its own.
const script = `set -euo pipefail
dir=$(mktemp --directory --tmpdir=/var/tmp)
trap 'rm -rf "$dir"' EXIT
tar --extract --directory="$dir"
mount --bind /bin/bash /bin/sh
export PATH="$dir:$PATH" HOME="$dir" KUBECONFIG="${KUBECONFIG:-/etc/kubernetes/admin.conf}"
for flags; do
  kube-bench run --config-dir="$dir" --benchmark=` + benchmark + ` --json $flags
done
`

// Check runs kube-bench on a machine. It changes nothing there. A check that fails is part of the result, and no error.
func (t Tool) Check(ctx context.Context, m Machine, role Role) (Result, error) {
	archive, err := t.archive()
	if err != nil {
		return Result{}, fmt.Errorf("packing kube-bench: %w", err)
	}
	cmd := m.Command(ctx, append([]string{"unshare", "--mount", "bash", "-c", script, "kube-bench"}, role.runs()...)...)
	var problems bytes.Buffer
	cmd.Stdin, cmd.Stderr = archive, &problems
	output, err := cmd.Output()
	if err != nil {
		return Result{}, fmt.Errorf("running kube-bench: %w\n%s", errors.Join(err, ctx.Err()), problems.String())
	}
	return assess(output, role, acceptedFailures)
}

// archive packs kube-bench, jq and the checks.
func (t Tool) archive() (*bytes.Buffer, error) {
	var packed bytes.Buffer
	archive := tar.NewWriter(&packed)
	for _, dir := range []string{t.programs, t.checks} {
		if err := archive.AddFS(os.DirFS(dir)); err != nil {
			return nil, err
		}
	}
	return &packed, archive.Close()
}
