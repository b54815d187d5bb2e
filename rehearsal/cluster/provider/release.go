package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

// releaseInputs lists the accepted properties of a Helm release and their JSON types. The SDK has more of them; they
// would have no effect here, so they are refused.
var releaseInputs = map[string]string{
	"atomic": "bool", "chart": "string", "cleanupOnFail": "bool", "createNamespace": "bool",
	"disableWebhooks": "bool", "maxHistory": "number", "name": "string", "namespace": "string",
	"repositoryOpts": "object", "skipAwait": "bool", "skipCrds": "bool", "timeout": "number",
	"values": "object", "version": "string", "waitForJobs": "bool",
}

// repositoryInputs lists the accepted properties of repositoryOpts.
var repositoryInputs = map[string]string{"repo": "string"}

// releaseTimeout is how long a release may take if the program sets no timeout.
const releaseTimeout = 5 * time.Minute

// releaseKind implements plugin.Kind for kubernetes:helm.sh/v3:Release.
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
		// A release has no annotations, so only the old name's format tells whether the provider chose it.
		if old := plugin.Text(r.OldInputs["name"]); isNamedAfter(old, r.Name) {
			inputs["name"] = resource.NewProperty(old)
		} else {
			inputs["name"] = resource.NewProperty(autoname(r.Name))
		}
	}
	// Helm stores a release's name with a suffix in a label, whose values are limited to 63 characters.
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
		return "", previewOutputs(r.Inputs), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil {
		return "", nil, err
	}
	release, err := cluster.Install(ctx, specOf(r.Inputs))
	if err != nil {
		return "", nil, failedRelease("installing", r.Inputs, release, err)
	}
	return releaseID(release), releaseOutputs(r.Inputs, release), nil
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
	r.Inputs, err = liveReleaseInputs(r.Inputs, release)
	return r.ID, releaseOutputs(r.Inputs, release), err
}

func (k releaseKind) Update(ctx context.Context, r *plugin.Request) (resource.PropertyMap, error) {
	if r.Preview {
		return previewOutputs(r.Inputs), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil {
		return nil, err
	}
	release, err := cluster.Upgrade(ctx, specOf(r.Inputs))
	if err != nil {
		return nil, failedRelease("upgrading", r.Inputs, release, err)
	}
	return releaseOutputs(r.Inputs, release), nil
}

// failedRelease wraps the error of an install or an upgrade. If a release exists despite the error, it returns a
// PartialError, so that the release goes into the state and the next update upgrades it.
func failedRelease(doing string, inputs resource.PropertyMap, release Release, err error) error {
	spec := specOf(inputs)
	err = fmt.Errorf("%s the Helm release %s/%s: %w", doing, spec.Namespace, spec.Name, err)
	var unready *UnreadyError
	if !errors.As(err, &unready) {
		return err
	}
	return &plugin.PartialError{
		ID: releaseID(release), Inputs: inputs, Outputs: releaseOutputs(inputs, release), Reason: err.Error(),
	}
}

func releaseID(release Release) string { return release.Namespace + "/" + release.Name }

// liveReleaseInputs returns the program's inputs with the version and the values that the release has now. They
// differ if somebody upgraded it by hand.
func liveReleaseInputs(inputs resource.PropertyMap, release Release) (resource.PropertyMap, error) {
	out := inputs.Copy()
	if inputs.HasValue("version") {
		out["version"] = resource.NewProperty(release.Version)
	}
	set, err := Checksum(specOf(inputs).Values)
	if err == nil && set != release.Checksum && release.Values != nil {
		out["values"] = resource.NewProperty(resource.NewPropertyMapFromMap(release.Values))
	}
	return out, err
}

// Delete fails if the cluster cannot be reached, even with deleteUnreachable, as in the real provider.
func (k releaseKind) Delete(ctx context.Context, r *plugin.Request) error {
	cluster, err := k.cluster(ctx)
	if err != nil {
		return fmt.Errorf("can't delete Helm Release with unreachable cluster: %w", err)
	}
	spec := specOf(r.State)
	spec.Namespace, spec.Name, _ = strings.Cut(r.ID, "/")
	if err := cluster.Uninstall(ctx, spec); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("uninstalling the Helm release %s: %w", r.ID, err)
	}
	return nil
}

func specOf(inputs resource.PropertyMap) ReleaseSpec {
	spec := ReleaseSpec{
		Namespace: plugin.Text(inputs["namespace"]), Name: plugin.Text(inputs["name"]),
		Chart: plugin.Text(inputs["chart"]), Version: plugin.Text(inputs["version"]), Values: map[string]any{},
		SkipCRDs: boolean(inputs["skipCrds"]), CreateNamespace: boolean(inputs["createNamespace"]),
		SkipHooks: boolean(inputs["disableWebhooks"]), Wait: !boolean(inputs["skipAwait"]), Timeout: releaseTimeout,
		Atomic: boolean(inputs["atomic"]), CleanupOnFail: boolean(inputs["cleanupOnFail"]),
	}
	spec.WaitForJobs = spec.Wait && boolean(inputs["waitForJobs"])
	if timeout := inputs["timeout"]; timeout.IsNumber() {
		spec.Timeout = time.Duration(timeout.NumberValue()) * time.Second
	}
	if history := inputs["maxHistory"]; history.IsNumber() {
		spec.MaxHistory = int(history.NumberValue())
	}
	if options := inputs["repositoryOpts"]; options.IsObject() {
		spec.Repository = plugin.Text(options.ObjectValue()["repo"])
	}
	if values := inputs["values"]; values.IsObject() {
		spec.Values = values.ObjectValue().Mappable()
	}
	return spec
}

// previewOutputs returns a release's outputs in a preview: those that only Helm knows are unknown.
func previewOutputs(inputs resource.PropertyMap) resource.PropertyMap {
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
	// Both come from rendering the chart, which neither the model nor package live reports.
	for _, key := range []resource.PropertyKey{"resourceNames", "manifest"} {
		if !out.HasValue(key) {
			out[key] = resource.NewProperty(resource.PropertyMap{})
		}
	}
	return out
}
