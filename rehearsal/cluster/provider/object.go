package provider

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

const (
	// managerKey is the output property that holds the name of the field manager that applied the object.
	managerKey = "__fieldManager"
	// autonamed is the annotation of objects whose name the provider chose.
	autonamed = "pulumi.com/autonamed"
	// patchForce is the annotation that makes an apply take over fields from other managers.
	patchForce = "pulumi.com/patchForce"
	// timeoutSeconds is the annotation that says how long the provider waits for the object.
	timeoutSeconds = "pulumi.com/timeoutSeconds"
)

// awaitTimeout is how long the provider waits for an object if neither the resource nor an annotation sets a timeout.
const awaitTimeout = 10 * time.Minute

// metadataFields lists the fields of metadata that a manifest may set.
var metadataFields = []string{"annotations", "finalizers", "generateName", "labels", "name", "namespace", "ownerReferences"}

// objectName matches the names that the API server accepts for most kinds: DNS subdomains.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// objectKind implements plugin.Kind for one API kind.
type objectKind struct {
	*session
	apiVersion, kind string
	info             kindInfo
	// custom says that a custom resource definition defines the kind. unlisted says that the definition is in none
	// of Bundles, so only the cluster knows whether the kind is namespaced.
	custom, unlisted bool
}

func (k objectKind) Check(_ context.Context, r *plugin.Request) (resource.PropertyMap, []plugin.Failure) {
	inputs := r.Inputs.Copy()
	var failures []plugin.Failure
	fail := func(property, format string, args ...any) {
		failures = append(failures, plugin.Failure{Property: property, Reason: fmt.Sprintf(format, args...)})
	}
	for property, want := range map[resource.PropertyKey]string{"apiVersion": k.apiVersion, "kind": k.kind} {
		if given := plugin.Text(inputs[property]); given != "" && given != want {
			fail(string(property), "is %q, but the resource's type says %q", given, want)
		}
		inputs[property] = resource.NewProperty(want)
	}
	for _, key := range inputs.StableKeys() {
		standard := key == "apiVersion" || key == "kind" || key == "metadata"
		if !standard && !k.custom && !slices.Contains(k.info.fields, string(key)) {
			fail(string(key), "a %s has no property %q", k.kind, key)
		}
	}
	if metadata := inputs["metadata"]; metadata.IsComputed() {
		return inputs, failures
	} else if !metadata.IsNull() && !metadata.IsObject() {
		fail("metadata", "must be an object")
		return inputs, failures
	}
	metadata := resource.PropertyMap{}
	if inputs["metadata"].IsObject() {
		metadata = inputs["metadata"].ObjectValue().Copy()
	}
	for _, key := range metadata.StableKeys() {
		if !slices.Contains(metadataFields, string(key)) {
			fail("metadata."+string(key), "cannot be set, or does not exist")
		}
	}
	k.nameObject(r, metadata)
	if name := metadata["name"]; name.IsString() && !objectName.MatchString(name.StringValue()) && !strings.HasPrefix(k.apiVersion, "rbac.") {
		fail("metadata.name", "%q is not a valid name: use lowercase letters, digits, '-' and '.', and begin and end with a letter or digit", name.StringValue())
	}
	switch {
	case k.info.clusterWide && metadata.HasValue("namespace"):
		fail("metadata.namespace", "must not be set: a %s is cluster-scoped", k.kind)
	case !k.info.clusterWide && !k.unlisted && !metadata.HasValue("namespace"):
		metadata["namespace"] = resource.NewProperty(k.namespace())
	}
	inputs["metadata"] = resource.NewProperty(metadata)
	return inputs, failures
}

// nameObject gives an object without a name the one it had before, or a new one: the resource's name and eight
// random characters, so that a replacement can exist beside the object that it replaces.
func (k objectKind) nameObject(r *plugin.Request, metadata resource.PropertyMap) {
	if metadata.HasValue("name") || metadata.HasValue("generateName") {
		return
	}
	if old := metadataOf(r.OldInputs); isAutonamed(r.OldInputs) {
		metadata["name"] = old["name"]
	} else {
		metadata["name"] = resource.NewProperty(autoname(r.Name))
	}
	annotations := resource.PropertyMap{}
	if metadata["annotations"].IsObject() {
		annotations = metadata["annotations"].ObjectValue().Copy()
	} else if metadata["annotations"].IsComputed() {
		return
	}
	annotations[autonamed] = resource.NewProperty("true")
	metadata["annotations"] = resource.NewProperty(annotations)
}

func metadataOf(inputs resource.PropertyMap) resource.PropertyMap {
	if inputs["metadata"].IsObject() {
		return inputs["metadata"].ObjectValue()
	}
	return resource.PropertyMap{}
}

func annotation(inputs resource.PropertyMap, name string) string {
	if annotations := metadataOf(inputs)["annotations"]; annotations.IsObject() {
		return plugin.Text(annotations.ObjectValue()[resource.PropertyKey(name)])
	}
	return ""
}

func isAutonamed(inputs resource.PropertyMap) bool { return annotation(inputs, autonamed) == "true" }

func (k objectKind) Diff(_ context.Context, r *plugin.Request) (plugin.Diff, error) {
	diff := plugin.Compare(r.OldInputs, r.Inputs, func(property string) bool { return property == "kind" })
	fixed := append([]string{"metadata.name", "metadata.namespace"}, k.immutable()...)
	replaced := false
	for path, change := range diff.Changed {
		if slices.ContainsFunc(fixed, func(field string) bool { return within(path, field) || within(field, path) }) ||
			// Another API group means another kind. Another version of the same group is the same object.
			path == "apiVersion" && group(r.OldInputs) != group(r.Inputs) {
			change.Replaces = true
			diff.Changed[path] = change
		}
		replaced = replaced || change.Replaces
	}
	before, after := metadataOf(r.OldInputs), metadataOf(r.Inputs)
	sameName := before["name"].DeepEquals(after["name"]) && before["namespace"].DeepEquals(after["namespace"])
	diff.DeleteBeforeReplace = replaced && sameName && !isAutonamed(r.Inputs)
	return diff, nil
}

func group(inputs resource.PropertyMap) string {
	return Ref{APIVersion: plugin.Text(inputs["apiVersion"])}.Group()
}

// immutable returns the paths whose change replaces the object, which for ConfigMaps and Secrets depends on the
// provider's settings.
func (k objectKind) immutable() []string {
	switch {
	case k.kind == "ConfigMap" && k.apiVersion == "v1" && k.config.configMapMutable:
		return nil
	case k.kind == "Secret" && k.apiVersion == "v1" && k.config.secretMutable:
		return []string{"type"}
	default:
		return k.info.immutable
	}
}

// within reports whether a path is the field or lies inside it.
func within(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (k objectKind) Create(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	manager := "pulumi-kubernetes-" + digest(string(r.URN), 8)
	if r.Preview {
		return "", k.outputs(r.Inputs, manager), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil {
		return "", nil, err
	}
	ctx, stop := context.WithTimeout(ctx, timeout(r, r.Inputs))
	defer stop()
	live, err := cluster.Apply(ctx, manifestOf(r.Inputs), ApplyOptions{
		Manager: manager, Force: k.forced(r.Inputs), CreateOnly: !k.config.upsert,
	})
	if err != nil {
		return "", nil, k.failed("creating", r, live, manager, err)
	}
	return idOf(live.Ref()), k.outputs(fromManifest(live), manager), nil
}

func (k objectKind) Read(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	cluster, err := k.cluster(ctx)
	switch {
	case err != nil && k.config.deleteUnreachable:
		return "", nil, nil
	case err != nil && k.config.skipUpdateUnreachable:
		return r.ID, r.State, nil
	case err != nil:
		return "", nil, err
	}
	ref := k.ref(r)
	live, err := cluster.Get(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	now := fromManifest(live)
	outputs := k.outputs(now, plugin.Text(r.State[managerKey]))
	if k.isSecret() {
		now = withStringData(r.Inputs, now)
	}
	r.Inputs = liveInputs(r.Inputs, now)
	return r.ID, outputs, nil
}

func (k objectKind) Update(ctx context.Context, r *plugin.Request) (resource.PropertyMap, error) {
	manager := plugin.Text(r.State[managerKey])
	if manager == "" {
		manager = "pulumi-kubernetes" // an imported object
	}
	if r.Preview {
		return k.outputs(r.Inputs, manager), nil
	}
	cluster, err := k.cluster(ctx)
	if err != nil && k.config.skipUpdateUnreachable {
		return r.State, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, timeout(r, r.Inputs))
	defer stop()
	live, err := cluster.Apply(ctx, manifestOf(r.Inputs), ApplyOptions{Manager: manager, Force: k.forced(r.Inputs)})
	if err != nil {
		return nil, k.failed("updating", r, live, manager, err)
	}
	return k.outputs(fromManifest(live), manager), nil
}

// failed wraps the error of an apply. An object that exists but is not ready becomes a PartialError, so that it
// goes into the state and the next update waits for it again.
func (k objectKind) failed(doing string, r *plugin.Request, live Manifest, manager string, err error) error {
	err = fmt.Errorf("%s %s: %w", doing, manifestOf(r.Inputs).Ref(), err)
	var unready *UnreadyError
	if !errors.As(err, &unready) {
		return err
	}
	return &plugin.PartialError{
		ID: idOf(live.Ref()), Inputs: r.Inputs, Outputs: k.outputs(fromManifest(live), manager), Reason: err.Error(),
	}
}

func (k objectKind) Delete(ctx context.Context, r *plugin.Request) error {
	cluster, err := k.cluster(ctx)
	if err != nil {
		if k.config.deleteUnreachable {
			return nil
		}
		return fmt.Errorf("deleting %s: %w; if the cluster is gone for good, set deleteUnreachable on the provider", k.ref(r), err)
	}
	ctx, stop := context.WithTimeout(ctx, timeout(r, r.State))
	defer stop()
	if err := cluster.Delete(ctx, k.ref(r)); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("deleting %s: %w", k.ref(r), err)
	}
	return nil
}

func (k objectKind) forced(inputs resource.PropertyMap) bool {
	return k.config.force || annotation(inputs, patchForce) == "true"
}

// timeout returns how long to wait for an object: the resource's custom timeout, the annotation's, or
// awaitTimeout. properties are the object's inputs or outputs.
func timeout(r *plugin.Request, properties resource.PropertyMap) time.Duration {
	if r.Timeout > 0 {
		return r.Timeout
	}
	if seconds, err := strconv.Atoi(annotation(properties, timeoutSeconds)); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return awaitTimeout
}

func (k objectKind) isSecret() bool { return k.apiVersion == "v1" && k.kind == "Secret" }

// ref returns the object of a resource's id: "namespace/name", or "name" if the kind is cluster-scoped.
func (k objectKind) ref(r *plugin.Request) Ref {
	namespace, name, found := strings.Cut(r.ID, "/")
	if !found {
		namespace, name = "", r.ID
	}
	return Ref{APIVersion: k.apiVersion, Kind: k.kind, Namespace: namespace, Name: name}
}

func idOf(ref Ref) string {
	if ref.Namespace == "" {
		return ref.Name
	}
	return ref.Namespace + "/" + ref.Name
}

// outputs returns an object's properties as the resource's outputs. It marks a Secret's data and stringData as
// secret, also if the program's inputs did not.
func (k objectKind) outputs(properties resource.PropertyMap, manager string) resource.PropertyMap {
	out := properties.Copy()
	out[managerKey] = resource.NewProperty(manager)
	if k.isSecret() {
		for _, key := range []resource.PropertyKey{"data", "stringData"} {
			if out.HasValue(key) {
				out[key] = resource.MakeSecret(out[key])
			}
		}
	}
	return out
}

func manifestOf(inputs resource.PropertyMap) Manifest { return inputs.Mappable() }

func fromManifest(m Manifest) resource.PropertyMap { return resource.NewPropertyMapFromMap(m) }
