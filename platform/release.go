package platform

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// releaseType is the resource that installs a chart with Helm itself: hooks, look-ups and roll-backs
// work, and a preview needs no cluster.
const releaseType = "kubernetes:helm.sh/v3:Release"

// releaseTimeout is how long the objects of a chart may take to become ready, in seconds.
const releaseTimeout = 600

// Release is an installed Helm chart.
//
// The SDK has a type for it, in a package that imports every API group of Kubernetes: building that takes
// longer than building the rest of this program. The resource is the same one; the names of its
// properties are pinned by a test.
type Release struct {
	pulumi.CustomResourceState
}

// Chart is what a release installs.
type Chart struct {
	// Release names the release; it is part of the names of the chart's objects.
	Release   string
	Namespace string
	// Repository is the chart repository's URL, https or oci. An OCI repository ends with the chart's name.
	Repository string
	Name       string
	Version    string
	Values     pulumi.Map
}

// newRelease declares the release of a chart whose custom resource definitions, if it has any, are
// installed already.
func newRelease(ctx *pulumi.Context, chart Chart, mirror config.Mirror, opts ...pulumi.ResourceOption) (*Release, error) {
	inputs := pulumi.Map{
		"name":      pulumi.String(chart.Release),
		"namespace": pulumi.String(chart.Namespace),
		"version":   pulumi.String(chart.Version),
		"values":    chart.Values,
		// The layer of CRDs owns them: Helm would install them once and never again.
		"skipCrds": pulumi.Bool(true),
		// A first install that fails leaves nothing, and an upgrade that fails goes back: the next update
		// starts from something known.
		"atomic":        pulumi.Bool(true),
		"cleanupOnFail": pulumi.Bool(true),
		"maxHistory":    pulumi.Int(5),
		"timeout":       pulumi.Int(releaseTimeout),
	}
	source, err := chart.source(mirror)
	if err != nil {
		return nil, err
	}
	inputs["chart"] = pulumi.String(source.chart)
	if source.repository != "" {
		inputs["repositoryOpts"] = pulumi.Map{"repo": pulumi.String(source.repository)}
	}
	release := &Release{}
	if err := ctx.RegisterResource(releaseType, chart.Release, inputs, release, opts...); err != nil {
		return nil, fmt.Errorf("releasing %s: %w", chart.Release, err)
	}
	return release, nil
}

type chartSource struct{ chart, repository string }

// source is where Helm finds the chart: by name in a repository, by reference in a registry, or, where a
// mirror stands in, at the same host and path below the mirror. A mirrored OCI chart is the plain archive
// at <files>/<host>/<path>-<version>.tgz, since a file server speaks no OCI.
func (c Chart) source(mirror config.Mirror) (chartSource, error) {
	u, err := url.Parse(c.Repository)
	if err != nil {
		return chartSource{}, fmt.Errorf("reading the repository of chart %s: %w", c.Name, err)
	}
	oci := u.Scheme == "oci"
	switch {
	case mirror.Files == "" && oci:
		return chartSource{chart: c.Repository}, nil
	case mirror.Files == "":
		return chartSource{chart: c.Name, repository: c.Repository}, nil
	case oci:
		return chartSource{chart: fmt.Sprintf("%s/%s%s-%s.tgz", mirror.Files, u.Host, u.Path, c.Version)}, nil
	default:
		return chartSource{chart: c.Name, repository: mirror.Files + "/" + u.Host + strings.TrimSuffix(u.Path, "/")}, nil
	}
}
