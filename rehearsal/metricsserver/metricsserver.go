// Package metricsserver gives the mirror metrics-server: the real one, built from its Go module, and its own chart.
//
// The module of v0.9.0 has the chart of the version before, 3.13.1. What 3.14.0 adds to it (hostUsers,
// namespaceOverride, another name of a ClusterRole) the program does not use, so it is served as 3.14.0 for 0.9.0.
package metricsserver

import (
	"context"
	"io"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/chart"

	"eco2/rehearsal/charts"
	"eco2/rehearsal/mirror"
)

const (
	name    = "metrics-server"
	version = "v0.9.0"
	// chartVersion is what the program asks for.
	chartVersion = "3.14.0"

	// Image is what Add serves.
	Image  = "registry.k8s.io/metrics-server/metrics-server:" + version
	binary = "/metrics-server"
)

// Add builds what is missing and serves the image and the chart. repo is the project's checkout, and progress goes to
// out.
func Add(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) error {
	built, err := mirror.Build(ctx, repo, name, version, out)
	if err != nil {
		return err
	}
	err = m.AddImage(ctx, mirror.Image{
		Name: Image, Files: map[string]string{binary: built.Binary(name)}, Entrypoint: []string{binary}, User: "65534",
	}, out)
	if err != nil {
		return err
	}
	source, err := built.Source(ctx)
	if err != nil {
		return err
	}
	c, err := chartIn(source)
	if err != nil {
		return err
	}
	return charts.Add(m, c)
}

// chartIn is the chart in the module's directory.
func chartIn(source string) (*chart.Chart, error) {
	return charts.Upstream(filepath.Join(source, "charts", name), chartVersion, strings.TrimPrefix(version, "v"))
}
