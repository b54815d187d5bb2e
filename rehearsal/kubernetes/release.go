package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/plugin"
)

// releaseInputs are the properties of a Helm release and the JSON type of each.
var releaseInputs = map[string]string{
	"allowNullValues": "bool", "atomic": "bool", "chart": "string", "cleanupOnFail": "bool", "compat": "string",
	"createNamespace": "bool", "dependencyUpdate": "bool", "description": "string", "devel": "bool",
	"disableCRDHooks": "bool", "disableOpenapiValidation": "bool", "disableWebhooks": "bool",
	"forceUpdate": "bool", "keyring": "string", "lint": "bool", "manifest": "object", "maxHistory": "number",
	"name": "string", "namespace": "string", "postrender": "string", "recreatePods": "bool",
	"renderSubchartNotes": "bool", "replace": "bool", "repositoryOpts": "object", "resetValues": "bool",
	"resourceNames": "object", "reuseValues": "bool", "skipAwait": "bool", "skipCrds": "bool",
	"timeout": "number", "valueYamlFiles": "array", "values": "object", "verify": "bool",
	"version": "string", "waitForJobs": "bool",
}

// repositoryInputs are the properties of repositoryOpts, all of them strings.
var repositoryInputs = map[string]string{
	"caFile": "string", "certFile": "string", "keyFile": "string", "password": "string", "repo": "string", "username": "string",
}

// releaseKind is the behaviour of kubernetes:helm.sh/v3:Release.
type releaseKind struct{ *session }

func (k releaseKind) Check(_ context.Context, r *plugin.Request) (resource.PropertyMap, []plugin.Failure) {
	inputs := r.Inputs.Copy()
	failures := plugin.CheckTypes("", inputs, releaseInputs)
	if options := inputs["repositoryOpts"]; options.IsObject() {
		failures = append(failures, plugin.CheckTypes("repositoryOpts.", options.ObjectValue(), repositoryInputs)...)
	}
	if !inputs.HasValue("chart") {
		failures = append(failures, plugin.Failure{Property: "chart", Reason: "must be set"})
	}
	if !inputs.HasValue("name") {
		// Whether the provider chose the old name shows from its form: a release has no annotations.
		if old := plugin.Text(r.OldInputs["name"]); isNamedAfter(old, r.Name) {
			inputs["name"] = resource.NewProperty(old)
		} else {
			inputs["name"] = resource.NewProperty(autoname(r.Name))
		}
	}
	// Helm keeps a release's name in a label, together with a suffix.
	if name := plugin.Text(inputs["name"]); len(name) > 53 {
		failures = append(failures, plugin.Failure{Property: "name", Reason: fmt.Sprintf("%q is longer than the 53 characters that Helm allows", name)})
	}
	if !inputs.HasValue("namespace") {
		inputs["namespace"] = resource.NewProperty(k.namespace())
	}
	return inputs, failures
}

func isNamedAfter(name, resource string) bool {
	suffix, ok := strings.CutPrefix(name, resource+"-")
	return ok && len(suffix) == 8
}

func (k releaseKind) Diff(_ context.Context, r *plugin.Request) (plugin.Diff, error) {
	diff := plugin.Compare(r.OldInputs, r.Inputs, func(property string) bool {
		return property == "name" || property == "namespace"
	})
	return diff, nil
}

func (k releaseKind) Create(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	if r.Preview {
		return "", preview(r.Inputs), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil {
		return "", nil, err
	}
	spec := specOf(r.Inputs)
	release, err := cluster.Install(ctx, spec)
	if err != nil {
		return "", nil, fmt.Errorf("installing the Helm release %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	return release.Namespace + "/" + release.Name, releaseOutputs(r.Inputs, release), nil
}

func (k releaseKind) Read(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	cluster, err := k.cluster(ctx)
	switch {
	case err != nil && k.config.deleteUnreachable:
		return "", nil, nil
	case err != nil:
		return "", nil, err
	}
	namespace, name, _ := strings.Cut(r.ID, "/")
	release, err := cluster.Release(ctx, namespace, name)
	if errors.Is(err, ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading the Helm release %s: %w", r.ID, err)
	}
	return r.ID, releaseOutputs(r.Inputs, release), nil
}

func (k releaseKind) Update(ctx context.Context, r *plugin.Request) (resource.PropertyMap, error) {
	if r.Preview {
		return preview(r.Inputs), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil {
		return nil, err
	}
	spec := specOf(r.Inputs)
	release, err := cluster.Upgrade(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("upgrading the Helm release %s/%s: %w", spec.Namespace, spec.Name, err)
	}
	return releaseOutputs(r.Inputs, release), nil
}

// Delete fails without a cluster even where deleteUnreachable is set, as the real provider does.
func (k releaseKind) Delete(ctx context.Context, r *plugin.Request) error {
	cluster, err := k.cluster(ctx)
	if err != nil {
		return fmt.Errorf("can't delete Helm Release with unreachable cluster: %w", err)
	}
	namespace, name, _ := strings.Cut(r.ID, "/")
	if err := cluster.Uninstall(ctx, namespace, name); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("uninstalling the Helm release %s: %w", r.ID, err)
	}
	return nil
}

func specOf(inputs resource.PropertyMap) ReleaseSpec {
	spec := ReleaseSpec{
		Namespace: plugin.Text(inputs["namespace"]), Name: plugin.Text(inputs["name"]),
		Chart: plugin.Text(inputs["chart"]), Version: plugin.Text(inputs["version"]), Values: map[string]any{},
		SkipCRDs: boolean(inputs["skipCrds"]), CreateNamespace: boolean(inputs["createNamespace"]),
	}
	if options := inputs["repositoryOpts"]; options.IsObject() {
		spec.Repository = plugin.Text(options.ObjectValue()["repo"])
	}
	if values := inputs["values"]; values.IsObject() {
		spec.Values = values.ObjectValue().Mappable()
	}
	return spec
}

// preview is what is known of a release before Helm ran.
func preview(inputs resource.PropertyMap) resource.PropertyMap {
	out := inputs.Copy()
	for _, key := range []resource.PropertyKey{"status", "resourceNames", "manifest"} {
		out[key] = resource.MakeComputed(resource.NewProperty(resource.PropertyMap{}))
	}
	return out
}

func releaseOutputs(inputs resource.PropertyMap, release Release) resource.PropertyMap {
	out := inputs.Copy()
	out["checksum"] = resource.NewProperty(release.Checksum)
	out["status"] = resource.NewProperty(resource.PropertyMap{
		"appVersion": resource.NewProperty(release.AppVersion),
		"chart":      resource.NewProperty(release.Chart),
		"name":       resource.NewProperty(release.Name),
		"namespace":  resource.NewProperty(release.Namespace),
		"revision":   resource.NewProperty(float64(release.Revision)),
		"status":     resource.NewProperty(release.Status),
		"version":    resource.NewProperty(release.Version),
	})
	// Both come from rendering the chart, which a modelled cluster does not do.
	for _, key := range []resource.PropertyKey{"resourceNames", "manifest"} {
		if !out.HasValue(key) {
			out[key] = resource.NewProperty(resource.PropertyMap{})
		}
	}
	return out
}
