// Package externaldns gives the mirror external-dns: the real one, built from its Go module, and its makers' chart.
//
// The chart is of another version than the one that is asked for. Its makers publish a chart of the same binary
// later than the binary: the module of v0.21.0 has chart 1.20.0, made for 0.20.0, and chart 1.21.1, made for 0.21.0,
// is in no version of the module. So the module's chart is served as 1.21.1 for 0.21.0, and only that is changed.
package externaldns

import (
	"context"
	"io"
	"strings"

	"eco2/rehearsal/authority"
	"eco2/rehearsal/charts"
	"eco2/rehearsal/mirror"
)

const (
	name    = "external-dns"
	version = "v0.21.0"
	// chartVersion is what the program asks for.
	chartVersion = "1.21.1"

	// Image is what Add serves.
	Image  = "registry.k8s.io/external-dns/external-dns:" + version
	binary = "/external-dns"
)

// published is what its Go module has of it.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "charts", ChartVersion: chartVersion, AppVersion: strings.TrimPrefix(version, "v"),
}

// Add builds what is missing and serves the image and the chart. repo is the project's checkout, authorities the
// certificates, in PEM form, by which AWS is known, and progress goes to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{
		Name: Image, User: "65532:65532", // a number of nobody's, as upstream's
		Texts: map[string]string{authority.TrustFile: authorities},
	}, binary, out)
}
