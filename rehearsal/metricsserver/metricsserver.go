// Package metricsserver gives the mirror metrics-server: the real one, built from its Go module, and its own chart.
//
// The module of v0.9.0 has the chart of the version before, 3.13.1. What 3.14.0 adds to it (hostUsers,
// namespaceOverride, another name of a ClusterRole) the program does not use, so it is served as 3.14.0 for 0.9.0.
package metricsserver

import (
	"context"
	"io"
	"strings"

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

// published is what its Go module has of it.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "charts", ChartVersion: chartVersion, AppVersion: strings.TrimPrefix(version, "v"),
}

// Add builds what is missing and serves the image and the chart. repo is the project's checkout, and progress goes to
// out.
func Add(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{Name: Image, User: "65534"}, binary, out)
}
