// Package supply builds all that real machines and their cluster download, and returns the settings with which the
// program finds it: the mirror that they use instead of the internet, with packages, images and charts.
package supply

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"eco2/config"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/calico"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/prometheus"
)

// probeImage is the image of the workloads and of the tests' pods.
const probeImage = "eco2.example/probe:1"

// probes are the images with the program cmd/probe. The stand-in for Grafana only answers its probes.
var probes = []mirror.Image{
	{Name: probeImage, Entrypoint: []string{"/probe"}},
	{Name: prometheus.Grafana, Entrypoint: []string{"/probe", "serve", "3000"}, User: nobody},
}

// Supplies describes what was built.
type Supplies struct {
	// Environ has the environment variables with which the engine's plugins find the mirror and trust its certificate.
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

// Build builds what is missing; if nothing is, it takes a moment. It needs no root. repo is the checkout of the whole
// repository, stateDir the state directory of the level, and progress goes to out. Besides the program's default
// versions, the mirror has the Kubernetes and containerd versions in also.
func Build(ctx context.Context, repo, stateDir string, out io.Writer, also ...config.Versions) (Supplies, error) {
	m, err := mirror.Create(ctx, repo, config.DefaultVersions, out, also...)
	if err != nil {
		return Supplies{}, err
	}
	bin := filepath.Join(stateDir, "bin")
	err = toolchain.Compile(ctx, out, toolchain.Target{
		What: "the programs of the rehearsal's containers", Usual: "a minute",
		Dir: filepath.Join(repo, "rehearsal"), Output: bin + string(filepath.Separator),
		Packages: []string{"./cmd/vpc", "./cmd/standin", "./cmd/probe"}, LDFlags: "-s -w", Static: true,
	})
	if err != nil {
		return Supplies{}, err
	}
	for _, image := range probes {
		image.Files = map[string]string{"/probe": filepath.Join(bin, "probe")}
		if err := m.AddImage(ctx, image, out); err != nil {
			return Supplies{}, err
		}
	}
	network, err := calico.Add(ctx, m, repo, out)
	if err != nil {
		return Supplies{}, err
	}
	trusted, err := authority.Open()
	if err != nil {
		return Supplies{}, err
	}
	checksums, err := addPlatform(ctx, m, repo, bin, trusted.PEM(), out)
	if err != nil {
		return Supplies{}, err
	}
	return Supplies{
		// Go's programs trust the certificates in this directory in addition to those of the host.
		Environ: []string{setup.MirrorEnv + "=" + m.Dir, "SSL_CERT_DIR=" + trusted.Dir()},
		Kubectl: m.Kubectl(), Mirror: m, Network: string(network), checksums: checksums,
	}, nil
}

// Settings returns the stack settings that this level needs, as values of stack.Options.Config.
func (s Supplies) Settings() map[string]any {
	return map[string]any{
		"mirror": map[string]any{
			"files":  fmt.Sprintf("https://%s/files", setup.MirrorAddress),
			"images": fmt.Sprintf("https://%s", setup.MirrorAddress),
			"sha256": s.checksums,
			"keys":   s.Mirror.Keys,
		},
	}
}
