// Package loadbalancer adds the AWS Load Balancer Controller to the mirror: the real one, built from its Go module, and
// its upstream chart.
//
// The newest release that is available as a Go module is v3.2.2, under the path of its repository on GitHub; from
// v3.3.0 on there is none. Its chart supports all values that the program sets, with the same meaning, so it is served
// as version 3.5.0.
package loadbalancer

import (
	"context"
	"io"

	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/mirror"
)

const (
	name = "aws-load-balancer-controller"
	// version is the module's version of mirror.LoadBalancerRelease.
	version = "v0.0.0-20260423195125-93ff3b5fdaad"
	// chartVersion is the version that the program installs.
	chartVersion = "3.5.0"

	// Image is the name of the image that Add serves.
	Image  = "public.ecr.aws/eks/aws-load-balancer-controller:" + mirror.LoadBalancerRelease
	binary = "/controller"
)

// published describes the release in its Go module.
var published = charts.Release{
	Name: name, ModuleVersion: version, Folder: "helm", ChartVersion: chartVersion, AppVersion: mirror.LoadBalancerRelease,
}

// Add builds what is missing and serves the image and the chart. repo is the path of the project's checkout,
// authorities the PEM certificates of the authorities to trust for AWS's API; progress is written to out.
func Add(ctx context.Context, m mirror.Mirror, repo, authorities string, out io.Writer) error {
	return published.Add(ctx, m, repo, mirror.Image{
		Name: Image, User: "65532:65532", // an unprivileged user, as upstream
		Texts: map[string]string{authority.TrustFile: authorities},
	}, binary, out)
}
