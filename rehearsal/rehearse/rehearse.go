// Package rehearse makes this host ready for a rehearsal with real machines: what they run in, what they
// have in place of the internet, and the settings by which the program finds it.
package rehearse

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"eco2/rehearsal/calico"
	"eco2/rehearsal/machines"
	"eco2/rehearsal/mirror"
	"eco2/rehearsal/toolchain"
)

// What the program installs by default, in config/versions.go. A test compares the two.
const (
	kubernetesVersion = "1.36.4"
	containerdVersion = "2.3.4"
)

// probeImage is what the tests run on every node.
const probeImage = "eco2.example/probe:1"

// Host is a host that is ready.
type Host struct {
	// Environ is what the engine's plugins need to find it.
	Environ []string
	// Kubectl is the path of a kubectl of the cluster's version.
	Kubectl string
	// Mirror is what the machines have in place of the internet.
	Mirror mirror.Mirror
	// Network is the manifest of the network between pods, as the machines get it.
	Network string

	// checksums are of the manifests that are not what their makers publish, by their names in mirror.sha256.
	checksums map[string]string
}

// Prepare builds and installs what is missing; where all is there it takes a moment. repo is the project's
// checkout, stateDir that of the level, and progress goes to out.
func Prepare(ctx context.Context, repo, stateDir string, out io.Writer) (Host, error) {
	if err := machines.Prepare(ctx, out); err != nil {
		return Host{}, err
	}
	return Build(ctx, repo, stateDir, out)
}

// Build is the part of Prepare that needs no root: all but what the machines themselves are.
func Build(ctx context.Context, repo, stateDir string, out io.Writer) (Host, error) {
	m, err := mirror.Prepare(ctx, repo, mirror.Versions{Kubernetes: kubernetesVersion, Containerd: containerdVersion}, out)
	if err != nil {
		return Host{}, err
	}
	bin := filepath.Join(stateDir, "bin")
	err = toolchain.Build(ctx, out, toolchain.Target{
		What: "what runs in the rehearsal's containers", Usual: "a minute",
		Dir: filepath.Join(repo, "rehearsal"), Output: bin + string(filepath.Separator),
		Packages: []string{"./cmd/services", "./cmd/controllers", "./cmd/idle", "./cmd/probe"}, LDFlags: "-s -w", Static: true,
	})
	if err != nil {
		return Host{}, err
	}
	probe := mirror.Image{Name: probeImage, Files: map[string]string{"/probe": filepath.Join(bin, "probe")}, Entrypoint: []string{"/probe"}}
	if err := m.AddImage(ctx, probe, out); err != nil {
		return Host{}, err
	}
	network, err := calico.Add(ctx, m, repo, out)
	if err != nil {
		return Host{}, err
	}
	checksums, err := addPlatform(ctx, m, repo, bin, out)
	if err != nil {
		return Host{}, err
	}
	return Host{
		Environ: []string{machines.MirrorEnv + "=" + m.Dir}, Kubectl: m.Kubectl(), Mirror: m, Network: string(network), checksums: checksums,
	}, nil
}

// Settings are what a stack says at this level, as values of stack.Options.Config.
func (h Host) Settings() map[string]any {
	return map[string]any{
		"mirror": map[string]any{
			"files":  fmt.Sprintf("http://%s/files", machines.MirrorAddress),
			"images": fmt.Sprintf("http://%s", machines.MirrorAddress),
			"sha256": h.checksums,
		},
	}
}
