// Package releases adds to the mirror those of the program's releases whose upstream program and chart are both in one Go
// module: the real programs, built from the module, and upstream's charts.
package releases

import (
	"context"
	"io"
	"path/filepath"

	"helm.sh/helm/v3/pkg/chart"

	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/mirror"
)

// release is an upstream program with its chart.
type release struct {
	// name is the name of the binary, of the chart, and of the folder in rehearsal/supply/mirror/build that pins the
	// module.
	name string
	// moduleVersion is the version that the folder pins.
	moduleVersion string
	// folder is the module's directory with the charts.
	folder string
	// chartVersion is the chart's version that the program requires.
	chartVersion string
	// appVersion is the version that the chart should declare for its binary.
	appVersion string
	// image is the name of the image that the chart refers to, binary the path of the binary in it, and user the
	// unprivileged user of upstream's image.
	image, binary, user string
	// callsAWS makes the image trust the rehearsal's authority.
	callsAWS bool
}

var (
	// The module of v0.21.0 has chart 1.20.0 for 0.20.0, because upstream publishes the chart for a release after the
	// release; chart 1.21.1 for 0.21.0 is in no version of the module.
	externalDNS = release{
		name: "external-dns", moduleVersion: "v0.21.0", folder: "charts", chartVersion: "1.21.1", appVersion: "0.21.0",
		image:  "registry.k8s.io/external-dns/external-dns:v0.21.0",
		binary: "/external-dns", user: "65532:65532", callsAWS: true,
	}
	// The newest release that is available as a Go module is v3.2.2, under the path of its repository on GitHub; from
	// v3.3.0 on there is none. Its chart supports all values that the program sets, with the same meaning.
	loadBalancer = release{
		name: "aws-load-balancer-controller", moduleVersion: "v0.0.0-20260423195125-93ff3b5fdaad", folder: "helm",
		chartVersion: "3.5.0", appVersion: mirror.LoadBalancerRelease,
		image:  "public.ecr.aws/eks/aws-load-balancer-controller:" + mirror.LoadBalancerRelease,
		binary: "/controller", user: "65532:65532", callsAWS: true,
	}
	// The module of v0.9.0 has the previous version of the chart, 3.13.1. The program does not use what 3.14.0 adds to
	// it: hostUsers, namespaceOverride, another name of a ClusterRole.
	metricsServer = release{
		name: "metrics-server", moduleVersion: "v0.9.0", folder: "charts", chartVersion: "3.14.0", appVersion: "0.9.0",
		image: "registry.k8s.io/metrics-server/metrics-server:v0.9.0", binary: "/metrics-server", user: "65534",
	}

	all = []release{externalDNS, loadBalancer, metricsServer}
)

// Images returns the names of the images that Add serves.
func Images() (names []string) {
	for _, r := range all {
		names = append(names, r.image)
	}
	return names
}

// Add builds the programs that are not built yet, and adds their images and charts to the mirror. repo is the path of the
// project's checkout, authorities the PEM certificates to trust for AWS's API. Add writes its progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	for _, r := range all {
		built, err := mirror.BuildProject(ctx, repo, r.name, r.moduleVersion, out)
		if err != nil {
			return err
		}
		image := mirror.Image{
			Name: r.image, User: r.user, Files: map[string]string{r.binary: built.Binary(r.name)}, Entrypoint: []string{r.binary},
		}
		if r.callsAWS {
			image.Texts = map[string]string{authority.TrustFile: authorities}
		}
		if err := m.AddImage(ctx, image, out); err != nil {
			return err
		}
		source, err := built.Source(ctx)
		if err != nil {
			return err
		}
		c, err := r.chart(source)
		if err != nil {
			return err
		}
		if err := charts.Add(m, c); err != nil {
			return err
		}
	}
	return nil
}

// chart reads the chart from the module's directory, and gives it the version that the program requires.
func (r release) chart(source string) (*chart.Chart, error) {
	return charts.Upstream(filepath.Join(source, r.folder, r.name), r.chartVersion, r.appVersion)
}
