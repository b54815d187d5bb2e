// Package metricsserver adds metrics-server to the mirror: the real one, built from its Go module, and upstream's
// chart.
//
// The module of v0.9.0 has the previous version of the chart, 3.13.1. The program does not use what 3.14.0 adds to it
// (hostUsers, namespaceOverride, another name of a ClusterRole), so the mirror serves it as 3.14.0 for 0.9.0.
package metricsserver

import (
	"context"
	"io"
	"strings"

	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/mirror"
)

const (
	name    = "metrics-server"
	version = "v0.9.0"
	// chartVersion is the version that the program requires.
	chartVersion = "3.14.0"

	// Image is the name of the image that Add serves.
	Image  = "registry.k8s.io/metrics-server/metrics-server:" + version
	binary = "/metrics-server"
)

// published describes the program and the chart in the Go module.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "charts", ChartVersion: chartVersion, AppVersion: strings.TrimPrefix(version, "v"),
}

// Add builds metrics-server, if that is not done yet, and adds its image and chart to the mirror. repo is the path of
// the project's checkout. Add writes its progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{Name: Image, User: "65534"}, binary, out)
}
