// Package loadbalancer gives the mirror the AWS Load Balancer Controller: the real one, built from its Go module, and
// its own chart.
//
// The newest release that is a module is v3.2.2, under the path of its repository on GitHub; from v3.3.0 on there is
// none. Its chart knows all values that the program sets, and means the same by them, so it is served as 3.5.0.
package loadbalancer

import (
	"context"
	"io"

	"eco2/rehearsal/authority"
	"eco2/rehearsal/charts"
	"eco2/rehearsal/mirror"
)

const (
	name = "aws-load-balancer-controller"
	// version is the module's, of mirror.LoadBalancerRelease.
	version = "v0.0.0-20260423195125-93ff3b5fdaad"
	// chartVersion is what the program asks for.
	chartVersion = "3.5.0"

	// Image is what Add serves.
	Image  = "public.ecr.aws/eks/aws-load-balancer-controller:" + mirror.LoadBalancerRelease
	binary = "/controller"
)

// published is what its Go module has of it.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "helm", ChartVersion: chartVersion, AppVersion: mirror.LoadBalancerRelease,
}

// Add builds what is missing and serves the image and the chart. repo is the project's checkout, authorities the
// certificates, in PEM form, by which AWS is known, and progress goes to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{
		Name: Image, User: "65532:65532", // a number of nobody's, as upstream's
		Texts: map[string]string{authority.TrustFile: authorities},
	}, binary, out)
}
