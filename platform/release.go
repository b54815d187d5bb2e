package platform

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

// releaseType is the type of the resource that installs a chart with Helm itself. Hooks, lookups and rollbacks work,
// and a preview needs no cluster.
const releaseType = "kubernetes:helm.sh/v3:Release"

// releaseTimeout is how long the objects of a chart may take to become ready, in seconds.
const releaseTimeout = 600

// release is an installed Helm chart.
//
// The SDK has a type for it, in a package that imports every API group of Kubernetes: building that package takes
// longer than building the rest of this program. The resource type is the same; a test checks the names of its
// properties.
type release struct {
	pulumi.CustomResourceState

	name string
}

// releaseArgs holds a release's inputs.
type releaseArgs struct {
	Namespace string
	Chart     chart
	Values    values
}

// chart is a version of a Helm chart.
type chart struct {
	// Repository is the URL of the chart repository, https or oci. An OCI URL ends with the chart's name.
	Repository string
	Name       string
	Version    string
}

// newRelease declares the release of a chart, and before it the chart's custom resource definitions if it has any. name
// is part of the names of the chart's objects. Both are children of parent, and the release depends on the given
// resources.
func (s *shared) newRelease(ctx *pulumi.Context, name string, args *releaseArgs, parent component.Component, after ...pulumi.Resource) (*release, error) {
	if len(chartCRDs[name]) > 0 {
		crds, err := s.newCRDs(ctx, name, parent)
		if err != nil {
			return nil, err
		}
		after = append(after, crds)
	}
	inputs := pulumi.Map{
		"name":      pulumi.String(name),
		"namespace": pulumi.String(args.Namespace),
		"version":   pulumi.String(args.Chart.Version),
		"values":    args.Values.input(),
		// newCRDs owns the CRDs: Helm would install them once and never upgrade them.
		"skipCrds": pulumi.Bool(true),
		// A failed first installation is removed and a failed upgrade is rolled back, so that the next update starts from
		// a known state.
		"atomic":        pulumi.Bool(true),
		"cleanupOnFail": pulumi.Bool(true),
		"maxHistory":    pulumi.Int(5),
		"timeout":       pulumi.Int(releaseTimeout),
	}
	source, err := args.Chart.source(s.config.Mirror)
	if err != nil {
		return nil, err
	}
	inputs["chart"] = pulumi.String(source.chart)
	if source.repository != "" {
		inputs["repositoryOpts"] = pulumi.Map{"repo": pulumi.String(source.repository)}
	}
	r := &release{name: name}
	if err := ctx.RegisterResource(releaseType, name, inputs, r, s.object(parent, after...)); err != nil {
		return nil, fmt.Errorf("declaring release %s: %w", name, err)
	}
	return r, nil
}

// chartSource says where Helm finds a chart. repository is empty if chart is a URL.
type chartSource struct{ chart, repository string }

// source returns where Helm finds the chart: by name in a repository, by reference in an OCI registry or, with a
// mirror, at the same host and path below the mirror. With a mirror an OCI chart is the archive at
// <files>/<host>/<path>-<version>.tgz, because a file server does not implement OCI.
func (c chart) source(mirror config.Mirror) (chartSource, error) {
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
