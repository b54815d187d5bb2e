package model

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// systemNamespaces lists the namespaces that every cluster has. The model refuses to delete them.
var systemNamespaces = []string{"default", "kube-node-lease", "kube-public", "kube-system"}

// object is an object's record in the store. live computes the object from it.
type object struct {
	Ref     provider.Ref `json:"ref"`
	UID     string       `json:"uid"`
	Created time.Time    `json:"created"`
	// Generation counts the applies that changed something, from 1.
	Generation int `json:"generation"`
	// Applied holds the last manifest of each field manager, the latest last. A manager owns the fields in its
	// manifest.
	Applied []applied `json:"applied"`
	// Finalizers must be removed by their controllers before a deleted object is gone.
	Finalizers []string `json:"finalizers,omitempty"`
	// Deleted is the deletion timestamp of an object that still has finalizers.
	Deleted *time.Time `json:"deleted,omitempty"`
	// Status is set by the object's controller.
	Status provider.Manifest `json:"status,omitempty"`
}

type applied struct {
	Manager  string            `json:"manager"`
	Manifest provider.Manifest `json:"manifest"`
}

// live returns the object as the API server would.
func (o *object) live() provider.Manifest {
	out := map[string]any{}
	for _, a := range o.Applied {
		merge(out, a.Manifest)
	}
	metadata, _ := out["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		out["metadata"] = metadata
	}
	metadata["uid"] = o.UID
	metadata["creationTimestamp"] = o.Created.UTC().Format(time.RFC3339)
	metadata["generation"] = float64(o.Generation)
	if len(o.Finalizers) > 0 {
		metadata["finalizers"] = o.Finalizers
	}
	if o.Deleted != nil {
		metadata["deletionTimestamp"] = o.Deleted.UTC().Format(time.RFC3339)
	}
	if len(o.Status) > 0 {
		out["status"] = map[string]any(o.Status)
	}
	if o.Ref.Kind == "Namespace" {
		merge(metadata, map[string]any{"labels": map[string]any{"kubernetes.io/metadata.name": o.Ref.Name}})
		out["status"] = map[string]any{"phase": "Active"}
	}
	return out
}

// merge copies the fields of from into into, recursively. It replaces lists as a whole.
func merge(into, from map[string]any) {
	for key, value := range from {
		child, isMap := value.(map[string]any)
		if !isMap {
			into[key] = value
			continue
		}
		target, ok := into[key].(map[string]any)
		if !ok {
			target = map[string]any{}
			into[key] = target
		}
		merge(target, child)
	}
}

// leaves calls fn for every field that is not itself a non-empty object, in the order of the paths.
func leaves(m map[string]any, path []string, fn func(path []string, value any)) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), key)
		if child, ok := m[key].(map[string]any); ok && len(child) > 0 {
			leaves(child, at, fn)
		} else {
			fn(at, m[key])
		}
	}
}

// lookup returns the field at a path.
func lookup(m map[string]any, path []string) (any, bool) {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	value, ok := m[path[len(path)-1]]
	return value, ok
}

// drop removes the field at a path.
func drop(m map[string]any, path []string) {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	delete(m, path[len(path)-1])
}

// Get implements provider.Cluster.
func (c *Cluster) Get(_ context.Context, ref provider.Ref) (live provider.Manifest, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		var o object
		found, err := tx.Get(objectKind, c.key(ref), &o)
		if err == nil && !found {
			err = fmt.Errorf("%s %w", ref, provider.ErrNotFound)
		}
		if err != nil {
			return err
		}
		live = o.live()
		return nil
	})
	return live, err
}

// Apply implements provider.Cluster.
func (c *Cluster) Apply(_ context.Context, manifest provider.Manifest, options provider.ApplyOptions) (live provider.Manifest, err error) {
	manifest, err = normalise(manifest)
	if err != nil {
		return nil, err
	}
	err = c.store.Update(func(tx *store.Tx) error {
		live, err = c.apply(tx, manifest, options)
		return err
	})
	return live, err
}

func (c *Cluster) apply(tx *store.Tx, manifest provider.Manifest, options provider.ApplyOptions) (provider.Manifest, error) {
	info, err := c.info(tx)
	if err != nil {
		return nil, err
	}
	ref := manifest.Ref()
	api, served := info.serves(ref.APIVersion, ref.Kind)
	if !served {
		return nil, noMatch(ref.APIVersion, ref.Kind)
	}
	if ref.Name == "" {
		return nil, fmt.Errorf("%s: metadata.name: required value", ref.Kind)
	}
	if api.ClusterWide != (ref.Namespace == "") {
		return nil, fmt.Errorf("the server could not find the requested resource: the scope of %s does not fit the manifest's namespace", ref.Kind)
	}
	if ref.Namespace != "" {
		if found, err := tx.Get(objectKind, c.key(namespaceRef(ref.Namespace)), &object{}); err != nil || !found {
			return nil, cmp.Or(err, fmt.Errorf("namespaces %q not found", ref.Namespace))
		}
	}
	var o object
	found, err := tx.Get(objectKind, c.key(ref), &o)
	if err != nil {
		return nil, err
	}
	switch {
	case !found:
		o = object{Ref: ref, UID: randomHex(32), Created: time.Now()}
	case options.CreateOnly:
		return nil, provider.AlreadyExists(ref)
	}
	if err := o.apply(manifest, options); err != nil {
		return nil, err
	}
	if ref.Kind == "CustomResourceDefinition" {
		if err := c.addKinds(tx, info, o.live()); err != nil {
			return nil, err
		}
	}
	return o.live(), tx.Put(objectKind, c.key(ref), o)
}

// apply replaces a manager's manifest in the object. Fields that another manager owns with another value are
// conflicts, unless options.Force takes them over. Fields that only the manager's earlier manifest had disappear.
func (o *object) apply(manifest provider.Manifest, options provider.ApplyOptions) error {
	before := o.live()
	var conflicts []string
	leaves(manifest, nil, func(path []string, value any) {
		for _, other := range o.Applied {
			theirs, owned := lookup(other.Manifest, path)
			if other.Manager == options.Manager || !owned || reflect.DeepEqual(theirs, value) || path[0] == "apiVersion" {
				continue
			}
			if options.Force {
				drop(other.Manifest, path)
				continue
			}
			conflicts = append(conflicts, fmt.Sprintf("conflict with %q using %s: .%s", other.Manager, o.Ref.APIVersion, strings.Join(path, ".")))
		}
	})
	if len(conflicts) > 0 {
		return fmt.Errorf("apply failed with %d conflicts: %s", len(conflicts), strings.Join(conflicts, ", "))
	}
	o.Applied = slices.DeleteFunc(o.Applied, func(a applied) bool { return a.Manager == options.Manager })
	o.Applied = append(o.Applied, applied{Manager: options.Manager, Manifest: manifest})
	if o.Generation == 0 || !reflect.DeepEqual(before, o.live()) {
		o.Generation++
	}
	return nil
}

// Delete deletes an object, which is gone at once unless it has finalizers. Deleting a namespace deletes everything in
// it; deleting a custom resource definition deletes all objects of its kind.
func (c *Cluster) Delete(_ context.Context, ref provider.Ref) error {
	return c.store.Update(func(tx *store.Tx) error { return c.delete(tx, ref) })
}

func (c *Cluster) delete(tx *store.Tx, ref provider.Ref) error {
	var o object
	found, err := tx.Get(objectKind, c.key(ref), &o)
	if err != nil || !found {
		return cmp.Or(err, fmt.Errorf("%s %w", ref, provider.ErrNotFound))
	}
	switch ref.Kind {
	case "Namespace":
		if slices.Contains(systemNamespaces, ref.Name) {
			return fmt.Errorf("namespaces %q is forbidden: this namespace may not be deleted", ref.Name)
		}
		if err := c.deleteWhere(tx, func(r provider.Ref) bool { return r.Namespace == ref.Name }); err != nil {
			return err
		}
		// Helm stores its releases as Secrets in their namespace.
		if err := c.deleteReleases(tx, ref.Name); err != nil {
			return err
		}
	case "CustomResourceDefinition":
		if err := c.removeKinds(tx, o.live()); err != nil {
			return err
		}
	}
	return c.remove(tx, o)
}

// remove removes an object from the store. If it has finalizers, remove only sets its deletion timestamp.
func (c *Cluster) remove(tx *store.Tx, o object) error {
	if len(o.Finalizers) == 0 {
		return tx.Delete(objectKind, c.key(o.Ref))
	}
	if o.Deleted == nil {
		now := time.Now()
		o.Deleted = &now
	}
	return tx.Put(objectKind, c.key(o.Ref), o)
}

func (c *Cluster) deleteWhere(tx *store.Tx, match func(provider.Ref) bool) error {
	var found []object
	err := c.each(tx, func(o object) {
		if match(o.Ref) {
			found = append(found, o)
		}
	})
	for _, o := range found {
		err = errors.Join(err, c.remove(tx, o))
	}
	return err
}

func (c *Cluster) each(tx *store.Tx, fn func(object)) error {
	return store.Each(tx, objectKind, func(id string, o object) error {
		if c.owns(id) {
			fn(o)
		}
		return nil
	})
}

// Objects returns the manifests of all objects, ordered by group, kind, namespace and name.
func (c *Cluster) Objects() (manifests []provider.Manifest, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		return c.each(tx, func(o object) { manifests = append(manifests, o.live()) })
	})
	return manifests, err
}

// addKinds makes the cluster serve the kind of a custom resource definition.
func (c *Cluster) addKinds(tx *store.Tx, info Info, definition provider.Manifest) error {
	apis, err := kindsOf(definition)
	if err != nil {
		return err
	}
	for _, api := range apis {
		if _, served := info.serves(api.APIVersion, api.Kind); !served {
			info.Custom = append(info.Custom, api)
		}
	}
	return tx.Put(clusterKind, c.id, info)
}

// removeKinds undoes addKinds and deletes the objects of the kind.
func (c *Cluster) removeKinds(tx *store.Tx, definition provider.Manifest) error {
	apis, err := kindsOf(definition)
	if err != nil {
		return err
	}
	info, err := c.info(tx)
	if err != nil {
		return err
	}
	info.Custom = slices.DeleteFunc(info.Custom, func(api provider.API) bool { return slices.Contains(apis, api) })
	if err := tx.Put(clusterKind, c.id, info); err != nil {
		return err
	}
	return c.deleteWhere(tx, func(r provider.Ref) bool {
		return slices.ContainsFunc(apis, func(api provider.API) bool { return api.APIVersion == r.APIVersion && api.Kind == r.Kind })
	})
}

// kindsOf returns the kind of a custom resource definition in each of its served versions.
func kindsOf(definition provider.Manifest) ([]provider.API, error) {
	var crd struct {
		Spec struct {
			Group, Scope string
			Names        struct{ Kind string }
			Versions     []struct {
				Name   string
				Served *bool
			}
		}
	}
	if err := remarshal(definition, &crd); err != nil {
		return nil, fmt.Errorf("reading a custom resource definition: %w", err)
	}
	if crd.Spec.Group == "" || crd.Spec.Names.Kind == "" {
		return nil, fmt.Errorf("CustomResourceDefinition %s is invalid: spec.group and spec.names.kind are required", definition.Ref().Name)
	}
	var apis []provider.API
	for _, v := range crd.Spec.Versions {
		if v.Served == nil || *v.Served {
			apis = append(apis, provider.API{
				APIVersion: crd.Spec.Group + "/" + v.Name, Kind: crd.Spec.Names.Kind, ClusterWide: crd.Spec.Scope == "Cluster",
			})
		}
	}
	return apis, nil
}

func (c *Cluster) addNamespace(tx *store.Tx, name, manager string) error {
	ref := namespaceRef(name)
	if found, err := tx.Get(objectKind, c.key(ref), &object{}); err != nil || found {
		return err
	}
	o := object{Ref: ref, UID: randomHex(32), Created: time.Now()}
	manifest := provider.Manifest{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	if err := o.apply(manifest, provider.ApplyOptions{Manager: manager}); err != nil {
		return err
	}
	return tx.Put(objectKind, c.key(ref), o)
}

func namespaceRef(name string) provider.Ref {
	return provider.Ref{APIVersion: "v1", Kind: "Namespace", Name: name}
}

// key returns an object's id in the store. It contains the group without the version, because all versions of a group
// share their objects.
func (c *Cluster) key(ref provider.Ref) string {
	return strings.Join([]string{c.id, ref.Group(), ref.Kind, ref.Namespace, ref.Name}, "|")
}

func noMatch(apiVersion, kind string) error {
	return fmt.Errorf("no matches for kind %q in version %q", kind, apiVersion)
}

// normalise converts a manifest's values to JSON's types, and moves a Secret's stringData to data, base64-encoded, as
// the API server does.
func normalise(manifest provider.Manifest) (out provider.Manifest, err error) {
	if err := remarshal(manifest, &out); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	plain, ok := out["stringData"].(map[string]any)
	if !ok || out["apiVersion"] != "v1" || out["kind"] != "Secret" {
		return out, nil
	}
	data, _ := out["data"].(map[string]any)
	if data == nil {
		data = map[string]any{}
	}
	for key, value := range plain {
		text, _ := value.(string)
		data[key] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	delete(out, "stringData")
	out["data"] = data
	return out, nil
}

func remarshal(from, to any) error {
	data, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}
