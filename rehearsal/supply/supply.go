// Package supply prepares this host for a rehearsal with real machines: Docker and the machines' image, the mirror
// that they use instead of the internet, and the settings with which the program finds it.
package supply

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/supply/calico"
	"eco2/rehearsal/supply/mirror"
)

// The versions that the program installs by default, as in config/versions.go. A test compares the two.
const (
	kubernetesVersion = "1.36.4"
	containerdVersion = "2.3.4"
)

// probeImage is the image of the pods that the tests run on every node.
const probeImage = "eco2.example/probe:1"

// Host describes a prepared host.
type Host struct {
	// Environ has the environment variables with which the engine's plugins find the mirror.
	Environ []string
	// Kubectl is the path of a kubectl of the cluster's version.
	Kubectl string
	// Mirror is what the machines use instead of the internet.
	Mirror mirror.Mirror
	// Network is the manifest of the pod network, as the mirror serves it.
	Network string

	// checksums are those of the manifests that differ from what upstream publishes, by their names in mirror.sha256.
	checksums map[string]string
}

// Prepare builds and installs what is missing; if nothing is, it takes a moment. repo is the checkout of the whole
// repository, stateDir the state directory of the level, and progress goes to out.
func Prepare(ctx context.Context, repo, stateDir string, out io.Writer) (Host, error) {
	if err := docker.Prepare(ctx, out); err != nil {
		return Host{}, err
	}
	return Build(ctx, repo, stateDir, out)
}

// Build does the part of Prepare that needs no root: everything except Docker and the machines' image.
func Build(ctx context.Context, repo, stateDir string, out io.Writer) (Host, error) {
	m, err := mirror.Prepare(ctx, repo, mirror.Versions{Kubernetes: kubernetesVersion, Containerd: containerdVersion}, out)
	if err != nil {
		return Host{}, err
	}
	bin := filepath.Join(stateDir, "bin")
	err = toolchain.Build(ctx, out, toolchain.Target{
		What: "the programs of the rehearsal's containers", Usual: "a minute",
		Dir: filepath.Join(repo, "rehearsal"), Output: bin + string(filepath.Separator),
		Packages: []string{"./cmd/vpc", "./cmd/standin", "./cmd/idle", "./cmd/probe"}, LDFlags: "-s -w", Static: true,
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
		Environ: []string{docker.MirrorEnv + "=" + m.Dir}, Kubectl: m.Kubectl(), Mirror: m, Network: string(network), checksums: checksums,
	}, nil
}

// Settings returns the stack settings that this level needs, as values of stack.Options.Config.
func (h Host) Settings() map[string]any {
	return map[string]any{
		"mirror": map[string]any{
			"files":  fmt.Sprintf("http://%s/files", docker.MirrorAddress),
			"images": fmt.Sprintf("http://%s", docker.MirrorAddress),
			"sha256": h.checksums,
		},
	}
}
