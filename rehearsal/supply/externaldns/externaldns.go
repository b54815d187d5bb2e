// Package externaldns adds external-dns to the mirror: the real one, built from its Go module, and upstream's chart.
//
// The chart is of an older version than the program requires, because upstream publishes the chart for a release after
// the release: the module of v0.21.0 has chart 1.20.0 for 0.20.0, and chart 1.21.1 for 0.21.0 is in no version of the
// module. So the mirror serves the module's chart with its version changed to 1.21.1 and its appVersion to 0.21.0.
package externaldns

import (
	"context"
	"io"
	"strings"

	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/mirror"
)

const (
	name    = "external-dns"
	version = "v0.21.0"
	// chartVersion is the version that the program requires.
	chartVersion = "1.21.1"

	// Image is the name of the image that Add serves.
	Image  = "registry.k8s.io/external-dns/external-dns:" + version
	binary = "/external-dns"
)

// published describes the program and the chart in the Go module.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "charts", ChartVersion: chartVersion, AppVersion: strings.TrimPrefix(version, "v"),
}

// Add builds external-dns, if that is not done yet, and adds its image and chart to the mirror. repo is the path of the
// project's checkout. authorities holds the PEM certificates to trust for AWS. Add writes its progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{
		Name: Image, User: "65532:65532", // an unprivileged user, as in upstream's image
		Texts: map[string]string{authority.TrustFile: authorities},
	}, binary, out)
}
