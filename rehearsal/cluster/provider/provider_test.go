package provider_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/engine/plugin"
)

// world is a provider with a modelled cluster, which a test can make unreachable.
type world struct {
	*testing.T
	provider    plugin.Provider
	cluster     *model.Cluster
	unreachable bool
}

const secretInKubeconfig = "s3cret"

func kubeconfig() string {
	return "clusters:\n- name: c\n  cluster: {server: 'https://203.0.113.1:6443', certificate-authority-data: " +
		base64.StdEncoding.EncodeToString([]byte("ca")) + "}\ncontexts:\n- name: x\n  context: {cluster: c}\ncurrent-context: x\n" +
		"users:\n- name: u\n  user: {client-key-data: " + secretInKubeconfig + "}\n"
}

func newWorld(t *testing.T, config map[string]any) *world {
	t.Helper()
	cluster, err := model.Open(t.TempDir()).New("1.36.5")
	require.NoError(t, err)
	w := &world{T: t, cluster: cluster}
	w.provider = provider.New(func(_ context.Context, e provider.Endpoint) (provider.Cluster, error) {
		if w.unreachable {
			return nil, errors.New("dial tcp: i/o timeout")
		}
		assert.Equal(t, "https://203.0.113.1:6443", e.Server)
		assert.Equal(t, "ca", e.CA)
		return cluster, nil
	})
	inputs := map[string]any{"kubeconfig": kubeconfig()}
	maps.Copy(inputs, config)
	require.NoError(t, w.provider.Configure(context.Background(), props(inputs)))
	return w
}

func props(m map[string]any) resource.PropertyMap { return resource.NewPropertyMapFromMap(m) }

const (
	configMap = "kubernetes:core/v1:ConfigMap"
	secret    = "kubernetes:core/v1:Secret"
	namespace = "kubernetes:core/v1:Namespace"
	store     = "kubernetes:external-secrets.io/v1:ClusterSecretStore"
	release   = "kubernetes:helm.sh/v3:Release"
)

func (w *world) kind(typ string) plugin.Kind {
	w.Helper()
	kind := w.provider.Kinds(typ)
	require.NotNil(w, kind, typ)
	return kind
}

func (w *world) request(typ, name string, inputs map[string]any) *plugin.Request {
	return &plugin.Request{URN: resource.URN("urn:pulumi:dev::eco2::" + typ + "::" + name), Type: typ, Name: name, Inputs: props(inputs)}
}

// create checks the inputs and creates the resource. It returns the request for an update or a delete.
func (w *world) create(typ, name string, inputs map[string]any) (*plugin.Request, error) {
	w.Helper()
	r := w.request(typ, name, inputs)
	checked, failures := w.kind(typ).Check(context.Background(), r)
	require.Empty(w, failures)
	r.Inputs = checked
	id, out, err := w.kind(typ).Create(context.Background(), r)
	r.ID, r.State, r.OldInputs = id, out, checked
	return r, err
}

func object(name, ns string, rest map[string]any) map[string]any {
	metadata := map[string]any{"name": name}
	if ns != "" {
		metadata["namespace"] = ns
	}
	out := map[string]any{"metadata": metadata}
	maps.Copy(out, rest)
	return out
}

func data(pairs ...string) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return map[string]any{"data": m}
}

func TestKinds(t *testing.T) {
	w := newWorld(t, nil)
	for typ, known := range map[string]bool{
		configMap: true, store: true, release: true,
		"kubernetes:networking.k8s.io/v1:NetworkPolicy":               true,
		"kubernetes:storage.k8s.io/v1:StorageClass":                   true,
		"kubernetes:rbac.authorization.k8s.io/v1:Role":                true,
		"kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": true,
		"kubernetes:example.com/v1:Anything":                          true,
		"kubernetes:core/v1:ConfigMapPatch":                           false,
		"kubernetes:networking.k8s.io/v1:NetworkPolicies":             false,
		"kubernetes:helm.sh/v4:Chart":                                 false,
		"kubernetes:external-secrets.io/v1:ClusterSecretStoreList":    false,
		"kubernetes:nonsense":                                         false,
		"kubernetes:yaml/v2:ConfigFile":                               false,
	} {
		assert.Equal(t, known, w.provider.Kinds(typ) != nil, typ)
	}
}

func TestConfigure(t *testing.T) {
	for name, test := range map[string]struct {
		inputs map[string]any
		want   string
	}{
		"flags as text": {map[string]any{"deleteUnreachable": "true", "enableServerSideApply": "true"}, ""},
		"unknown":       {map[string]any{"kubeConfig": "x"}, `no input "kubeConfig"`},
		"client side":   {map[string]any{"enableServerSideApply": "false"}, "server-side apply only"},
		"render":        {map[string]any{"renderYamlToDirectory": "d"}, "does not model renderYamlToDirectory"},
		"engine inputs": {map[string]any{"version": "4.30.0", "__internal": map[string]any{}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := provider.New(nil).Configure(context.Background(), props(test.inputs))
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestDiffConfig(t *testing.T) {
	for name, test := range map[string]struct {
		olds, news map[string]any
		replaces   []string
	}{
		"no change":           {map[string]any{"kubeconfig": "a"}, map[string]any{"kubeconfig": "a"}, nil},
		"kubeconfig":          {map[string]any{"kubeconfig": "a"}, map[string]any{"kubeconfig": "b"}, []string{"kubeconfig"}},
		"context":             {map[string]any{"context": "a"}, map[string]any{"context": "b"}, []string{"context"}},
		"same identifier":     {map[string]any{"kubeconfig": "a", "clusterIdentifier": "c"}, map[string]any{"kubeconfig": "b", "clusterIdentifier": "c"}, nil},
		"another identifier":  {map[string]any{"kubeconfig": "a", "clusterIdentifier": "c"}, map[string]any{"kubeconfig": "b", "clusterIdentifier": "d"}, []string{"clusterIdentifier"}},
		"new identifier":      {map[string]any{"kubeconfig": "a"}, map[string]any{"kubeconfig": "a", "clusterIdentifier": "c"}, nil},
		"other inputs update": {map[string]any{"namespace": "a"}, map[string]any{"namespace": "b"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			diff, err := provider.New(nil).DiffConfig(&plugin.Request{OldInputs: props(test.olds), Inputs: props(test.news)})
			require.NoError(t, err)
			var replaces []string
			for path, change := range diff.Changed {
				if change.Replaces {
					replaces = append(replaces, path)
				}
			}
			assert.Equal(t, test.replaces, replaces)
		})
	}
	t.Run("unknown kubeconfig", func(t *testing.T) {
		news := props(map[string]any{"clusterIdentifier": "c"})
		news["kubeconfig"] = resource.MakeComputed(resource.NewProperty(""))
		olds := props(map[string]any{"kubeconfig": "a", "clusterIdentifier": "c"})
		diff, err := provider.New(nil).DiffConfig(&plugin.Request{OldInputs: olds, Inputs: news})
		require.NoError(t, err)
		assert.Equal(t, map[string]plugin.Change{"kubeconfig": {}}, diff.Changed)

		_, err = provider.New(nil).DiffConfig(&plugin.Request{OldInputs: news, Inputs: olds})
		require.ErrorContains(t, err, "unexpected kubeconfig format")
	})
}

func TestCheckObject(t *testing.T) {
	w := newWorld(t, nil)
	for name, test := range map[string]struct {
		typ      string
		inputs   map[string]any
		failures []string
		wantNS   string
	}{
		"defaults":           {typ: configMap, inputs: object("a", "", nil), wantNS: "default"},
		"own namespace":      {typ: configMap, inputs: object("a", "b", nil), wantNS: "b"},
		"cluster-wide":       {typ: namespace, inputs: object("a", "", nil)},
		"cluster-wide in ns": {typ: store, inputs: object("a", "b", nil), failures: []string{"metadata.namespace"}},
		"different kind":     {typ: configMap, inputs: object("a", "", map[string]any{"kind": "Secret"}), failures: []string{"kind"}, wantNS: "default"},
		"unknown property":   {typ: configMap, inputs: object("a", "", map[string]any{"spec": map[string]any{}}), failures: []string{"spec"}, wantNS: "default"},
		"unknown metadata":   {typ: configMap, inputs: map[string]any{"metadata": map[string]any{"name": "a", "label": "x"}}, failures: []string{"metadata.label"}, wantNS: "default"},
		"bad name":           {typ: configMap, inputs: object("A_b", "", nil), failures: []string{"metadata.name"}, wantNS: "default"},
		"any custom field":   {typ: store, inputs: object("a", "", map[string]any{"spec": map[string]any{}, "other": "x"})},
	} {
		t.Run(name, func(t *testing.T) {
			out, failures := w.kind(test.typ).Check(context.Background(), w.request(test.typ, "res", test.inputs))
			var failed []string
			for _, f := range failures {
				failed = append(failed, f.Property)
			}
			assert.Equal(t, test.failures, failed)
			assert.NotEmpty(t, out["apiVersion"].StringValue())
			if ns := out["metadata"].ObjectValue()["namespace"]; test.wantNS != "" {
				assert.Equal(t, test.wantNS, ns.StringValue())
			}
		})
	}
}

func TestAutonames(t *testing.T) {
	w := newWorld(t, nil)
	name := func(olds resource.PropertyMap) (string, resource.PropertyMap) {
		r := w.request(configMap, "res", map[string]any{})
		r.OldInputs = olds
		out, failures := w.kind(configMap).Check(context.Background(), r)
		require.Empty(t, failures)
		return out["metadata"].ObjectValue()["name"].StringValue(), out
	}
	first, inputs := name(nil)
	assert.Regexp(t, `^res-[0-9a-f]{8}$`, first)
	kept, _ := name(inputs)
	assert.Equal(t, first, kept, "an update keeps the name")
	other, _ := name(nil)
	assert.NotEqual(t, first, other, "a replacement has another name")
}

func TestDiffObject(t *testing.T) {
	const class = "kubernetes:storage.k8s.io/v1:StorageClass"
	for name, test := range map[string]struct {
		typ               string
		config            map[string]any
		olds, news        map[string]any
		changed, replaces bool
		deleteBefore      bool
	}{
		"nothing":            {typ: namespace, olds: object("a", "", nil), news: object("a", "", nil)},
		"labels update":      {typ: namespace, olds: object("a", "", nil), news: map[string]any{"metadata": map[string]any{"name": "a", "labels": map[string]any{"x": "y"}}}, changed: true},
		"another name":       {typ: namespace, olds: object("a", "", nil), news: object("b", "", nil), changed: true, replaces: true},
		"another namespace":  {typ: configMap, olds: object("a", "x", nil), news: object("a", "y", nil), changed: true, replaces: true},
		"parameters":         {typ: class, olds: object("a", "", map[string]any{"parameters": map[string]any{"csi.storage.k8s.io/fstype": "ext4"}}), news: object("a", "", map[string]any{"parameters": map[string]any{"csi.storage.k8s.io/fstype": "xfs"}}), changed: true, replaces: true, deleteBefore: true},
		"expansion":          {typ: class, olds: object("a", "", map[string]any{"allowVolumeExpansion": false}), news: object("a", "", map[string]any{"allowVolumeExpansion": true}), changed: true},
		"data":               {typ: configMap, olds: object("a", "", data("k", "v")), news: object("a", "", data("k", "w")), changed: true, replaces: true, deleteBefore: true},
		"data, mutable":      {typ: configMap, config: map[string]any{"enableConfigMapMutable": "true"}, olds: object("a", "", data("k", "v")), news: object("a", "", data("k", "w")), changed: true},
		"secret, mutable":    {typ: secret, config: map[string]any{"enableSecretMutable": "true"}, olds: object("a", "", data("k", "v")), news: object("a", "", data("k", "w")), changed: true},
		"type of a secret":   {typ: secret, config: map[string]any{"enableSecretMutable": "true"}, olds: object("a", "", map[string]any{"type": "Opaque"}), news: object("a", "", map[string]any{"type": "x/y"}), changed: true, replaces: true, deleteBefore: true},
		"autonamed":          {typ: configMap, olds: data("k", "v"), news: data("k", "w"), changed: true, replaces: true},
		"spec below a field": {typ: "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", olds: object("a", "", map[string]any{"roleRef": map[string]any{"name": "x"}}), news: object("a", "", map[string]any{"roleRef": map[string]any{"name": "y"}}), changed: true, replaces: true, deleteBefore: true},
		"a custom spec":      {typ: store, olds: object("a", "", map[string]any{"spec": map[string]any{"x": "y"}}), news: object("a", "", map[string]any{"spec": map[string]any{"x": "z"}}), changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.config)
			r := w.request(test.typ, "res", test.olds)
			olds, failures := w.kind(test.typ).Check(context.Background(), r)
			require.Empty(t, failures)
			r = w.request(test.typ, "res", test.news)
			r.OldInputs = olds
			r.Inputs, failures = w.kind(test.typ).Check(context.Background(), r)
			require.Empty(t, failures)
			diff, err := w.kind(test.typ).Diff(context.Background(), r)
			require.NoError(t, err)
			replaces := false
			for _, change := range diff.Changed {
				replaces = replaces || change.Replaces
			}
			assert.Equal(t, test.changed, len(diff.Changed) > 0)
			assert.Equal(t, test.replaces, replaces)
			assert.Equal(t, test.deleteBefore, diff.DeleteBeforeReplace)
		})
	}
}

func TestObjectLifecycle(t *testing.T) {
	w := newWorld(t, map[string]any{"enableConfigMapMutable": "true"})
	r, err := w.create(configMap, "res", object("a", "default", data("k", "v", "old", "x")))
	require.NoError(t, err)
	assert.Equal(t, "default/a", r.ID)
	assert.Equal(t, "v", r.State["data"].ObjectValue()["k"].StringValue())
	assert.NotEmpty(t, r.State["metadata"].ObjectValue()["uid"].StringValue())

	r.Inputs = props(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a", "namespace": "default"}, "data": map[string]any{"k": "w"}})
	out, err := w.kind(configMap).Update(context.Background(), r)
	require.NoError(t, err)
	assert.Equal(t, props(map[string]any{"k": "w"}), out["data"].ObjectValue(), "a field that is no longer applied is removed")

	id, read, err := w.kind(configMap).Read(context.Background(), r)
	require.NoError(t, err)
	assert.Equal(t, r.ID, id)
	assert.Equal(t, out, read)

	require.NoError(t, w.kind(configMap).Delete(context.Background(), r))
	require.NoError(t, w.kind(configMap).Delete(context.Background(), r), "deleting a missing object is not an error")
	id, _, err = w.kind(configMap).Read(context.Background(), r)
	require.NoError(t, err)
	assert.Empty(t, id)
}

// A changed field is drift if the program set it. A field that the program did not set is not drift, and neither is
// another spelling of the same quantity.
func TestDrift(t *testing.T) {
	const claim = "kubernetes:core/v1:PersistentVolumeClaim"
	set := object("a", "default", map[string]any{"spec": map[string]any{
		"resources": map[string]any{"requests": map[string]any{"storage": "1024Mi"}}, "selector": map[string]any{}, "accessModes": []any{"ReadWriteOnce"},
	}})
	for name, test := range map[string]struct {
		live map[string]any
		want map[string]any
	}{
		"defaults": {
			map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}}, "accessModes": []any{"ReadWriteOnce"}, "volumeMode": "Filesystem"},
			set["spec"].(map[string]any),
		},
		"a change": {
			map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": "2Gi"}}, "accessModes": []any{"ReadWriteMany", "ReadWriteOnce"}},
			map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": "2Gi"}}, "selector": map[string]any{}, "accessModes": []any{"ReadWriteMany", "ReadWriteOnce"}},
		},
		"gone": {map[string]any{"accessModes": []any{"ReadWriteOnce"}}, map[string]any{"selector": map[string]any{}, "accessModes": []any{"ReadWriteOnce"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			manifest := provider.Manifest{"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
			maps.Copy(manifest, object("a", "default", map[string]any{"spec": test.live}))
			_, err := w.cluster.Apply(context.Background(), manifest, provider.ApplyOptions{Manager: "kubectl"})
			require.NoError(t, err)
			r := w.request(claim, "res", set)
			r.ID = "default/a"
			_, out, err := w.kind(claim).Read(context.Background(), r)
			require.NoError(t, err)
			assert.Equal(t, props(test.want), r.Inputs["spec"].ObjectValue())
			assert.Equal(t, props(test.live), out["spec"].ObjectValue(), "the outputs are the object")
		})
	}
}

func TestSecretDataIsMarkedSecret(t *testing.T) {
	w := newWorld(t, nil)
	r, err := w.create(secret, "res", object("a", "", map[string]any{"stringData": map[string]any{"k": "v"}}))
	require.NoError(t, err)
	require.True(t, r.State["data"].IsSecret())
	assert.Equal(t, "dg==", r.State["data"].SecretValue().Element.ObjectValue()["k"].StringValue())
}

func TestCreateFails(t *testing.T) {
	for name, test := range map[string]struct {
		typ    string
		inputs map[string]any
		config map[string]any
		before func(*world)
		want   string
	}{
		"no namespace":  {typ: configMap, inputs: object("a", "shop", nil), want: `namespaces "shop" not found`},
		"no definition": {typ: store, inputs: object("a", "", nil), want: `no matches for kind "ClusterSecretStore" in version "external-secrets.io/v1"`},
		"no kind": {typ: "kubernetes:external-secrets.io/v1:Storage", inputs: object("a", "", nil), before: func(w *world) {
			require.NoError(w, w.cluster.InstallBundle("external-secrets"))
		}, want: `no matches for kind "Storage"`},
		"no version": {typ: "kubernetes:external-secrets.io/v1beta1:ClusterSecretStore", inputs: object("a", "", nil), before: func(w *world) {
			require.NoError(w, w.cluster.InstallBundle("external-secrets"))
		}, want: `in version "external-secrets.io/v1beta1"`},
		"already exists": {typ: namespace, inputs: object("argocd", "", nil), before: func(w *world) {
			require.NoError(w, w.cluster.AddNamespace("argocd", "eco2"))
		}, want: "Namespace argocd already exists"},
		"conflict": {typ: configMap, inputs: object("a", "default", data("k", "v", "same", "s")), config: map[string]any{"upsertExistingObjects": "true"}, before: func(w *world) {
			w.applyAs("kubectl", object("a", "default", data("k", "other", "same", "s")))
		}, want: `apply failed with 1 conflicts: conflict with "kubectl" using v1: .data.k`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.config)
			if test.before != nil {
				test.before(w)
			}
			_, err := w.create(test.typ, "res", test.inputs)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// applyAs applies a ConfigMap as another field manager.
func (w *world) applyAs(manager string, inputs map[string]any) {
	w.Helper()
	manifest := provider.Manifest{"apiVersion": "v1", "kind": "ConfigMap"}
	maps.Copy(manifest, inputs)
	_, err := w.cluster.Apply(context.Background(), manifest, provider.ApplyOptions{Manager: manager})
	require.NoError(w, err)
}

func TestForceTakesFieldsOver(t *testing.T) {
	w := newWorld(t, map[string]any{"upsertExistingObjects": "true"})
	w.applyAs("kubectl", object("a", "default", data("k", "other", "theirs", "t")))
	inputs := object("a", "default", data("k", "v"))
	inputs["metadata"].(map[string]any)["annotations"] = map[string]any{"pulumi.com/patchForce": "true"}
	r, err := w.create(configMap, "res", inputs)
	require.NoError(t, err)
	assert.Equal(t, props(map[string]any{"k": "v", "theirs": "t"}), r.State["data"].ObjectValue())
}

func TestCustomResources(t *testing.T) {
	w := newWorld(t, nil)
	require.NoError(t, w.cluster.InstallBundle("external-secrets"))
	r, err := w.create(store, "res", object("a", "", map[string]any{"spec": map[string]any{"provider": "aws"}}))
	require.NoError(t, err)
	assert.Equal(t, "a", r.ID)

	crd := object("things.example.com", "", map[string]any{"spec": map[string]any{
		"group": "example.com", "scope": "Namespaced", "names": map[string]any{"kind": "Thing"},
		"versions": []any{map[string]any{"name": "v1", "served": true}, map[string]any{"name": "v0", "served": false}},
	}})
	definition, err := w.create("kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition", "crd", crd)
	require.NoError(t, err)
	_, err = w.create("kubernetes:example.com/v0:Thing", "old", object("a", "default", nil))
	require.ErrorContains(t, err, "no matches for kind")
	thing, err := w.create("kubernetes:example.com/v1:Thing", "thing", object("a", "default", nil))
	require.NoError(t, err)

	require.NoError(t, w.kind(definition.Type).Delete(context.Background(), definition))
	id, _, err := w.kind(thing.Type).Read(context.Background(), thing)
	require.NoError(t, err)
	assert.Empty(t, id, "deleting a definition deletes its objects")
}

func TestDeletingANamespace(t *testing.T) {
	w := newWorld(t, nil)
	ns, err := w.create(namespace, "shop", object("shop", "", nil))
	require.NoError(t, err)
	inside, err := w.create(configMap, "in", object("a", "shop", nil))
	require.NoError(t, err)
	outside, err := w.create(configMap, "out", object("a", "default", nil))
	require.NoError(t, err)
	_, err = w.create(release, "rel", map[string]any{"name": "rel", "namespace": "shop", "chart": "external-dns"})
	require.NoError(t, err)

	require.NoError(t, w.kind(namespace).Delete(context.Background(), ns))
	id, _, err := w.kind(configMap).Read(context.Background(), inside)
	require.NoError(t, err)
	assert.Empty(t, id)
	id, _, err = w.kind(configMap).Read(context.Background(), outside)
	require.NoError(t, err)
	assert.NotEmpty(t, id)
	releases, err := w.cluster.Releases()
	require.NoError(t, err)
	assert.Empty(t, releases)

	ns.ID = "kube-system"
	require.ErrorContains(t, w.kind(namespace).Delete(context.Background(), ns), "may not be deleted")
}

func TestUnreachable(t *testing.T) {
	const want = "configured Kubernetes cluster is unreachable: dial tcp: i/o timeout"
	for name, test := range map[string]struct {
		config                                 map[string]any
		deleteObject, updateObject, readObject string
	}{
		"by default":            {nil, want, want, want},
		"deleteUnreachable":     {map[string]any{"deleteUnreachable": "true"}, "", want, ""},
		"skipUpdateUnreachable": {map[string]any{"skipUpdateUnreachable": "true"}, want, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.config)
			r, err := w.create(configMap, "res", object("a", "default", nil))
			require.NoError(t, err)
			rel, err := w.create(release, "rel", map[string]any{"chart": "external-dns"})
			require.NoError(t, err)
			w.unreachable = true

			r.Preview, rel.Preview = true, true
			_, _, err = w.kind(configMap).Create(context.Background(), r)
			require.NoError(t, err, "a preview needs no cluster")
			_, out, err := w.kind(release).Create(context.Background(), rel)
			require.NoError(t, err, "a preview needs no cluster")
			assert.True(t, out["status"].IsComputed())
			r.Preview, rel.Preview = false, false

			_, _, err = w.kind(configMap).Create(context.Background(), r)
			check(t, want, err)
			_, err = w.kind(configMap).Update(context.Background(), r)
			check(t, test.updateObject, err)
			_, _, err = w.kind(configMap).Read(context.Background(), r)
			check(t, test.readObject, err)
			check(t, test.deleteObject, w.kind(configMap).Delete(context.Background(), r))
			check(t, "can't delete Helm Release with unreachable cluster", w.kind(release).Delete(context.Background(), rel))
		})
	}
}

func check(t *testing.T, want string, err error) {
	t.Helper()
	if want == "" {
		require.NoError(t, err)
	} else {
		require.ErrorContains(t, err, want)
	}
}

func TestErrorsDoNotQuoteTheKubeconfig(t *testing.T) {
	for name, test := range map[string]struct{ kubeconfig, context string }{
		"not YAML":        {"{" + kubeconfig(), ""},
		"no such context": {kubeconfig(), "other"},
		"wrong types":     {"clusters: " + secretInKubeconfig + "\n", ""},
		"bad authority":   {strings.Replace(kubeconfig(), "data: ", "data: "+secretInKubeconfig, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]any{"kubeconfig": test.kubeconfig, "context": test.context})
			_, err := w.create(configMap, "res", object("a", "default", nil))
			require.ErrorContains(t, err, "unreachable: the kubeconfig is not valid")
			assert.NotContains(t, err.Error(), secretInKubeconfig)
		})
	}
	_, err := provider.ParseKubeconfig("", "", "")
	require.ErrorContains(t, err, "no kubeconfig is set")
}

func TestCheckRelease(t *testing.T) {
	w := newWorld(t, nil)
	for name, test := range map[string]struct {
		change   map[string]any
		failures []string
	}{
		"valid":              {map[string]any{"repositoryOpts": map[string]any{"repo": "https://x"}, "skipCrds": true, "timeout": 600.0}, nil},
		"unknown":            {map[string]any{"skipCRDs": true}, []string{"skipCRDs"}},
		"unknown repository": {map[string]any{"repositoryOpts": map[string]any{"url": "https://x"}}, []string{"repositoryOpts.url"}},
		"without effect":     {map[string]any{"postrender": "sed"}, []string{"postrender"}},
		"wrong type":         {map[string]any{"timeout": "600"}, []string{"timeout"}},
		"no chart":           {map[string]any{"chart": nil}, []string{"chart"}},
		"a long name":        {map[string]any{"name": strings.Repeat("x", 54)}, []string{"name"}},
	} {
		t.Run(name, func(t *testing.T) {
			inputs := map[string]any{"chart": "external-dns"}
			maps.Copy(inputs, test.change)
			if test.change["chart"] == nil && len(test.failures) > 0 && test.failures[0] == "chart" {
				delete(inputs, "chart")
			}
			out, failures := w.kind(release).Check(context.Background(), w.request(release, "dns", inputs))
			var failed []string
			for _, f := range failures {
				failed = append(failed, f.Property)
			}
			assert.Equal(t, test.failures, failed)
			assert.Equal(t, "default", out["namespace"].StringValue())
			if test.change["name"] == nil {
				assert.Regexp(t, `^dns-[0-9a-f]{8}$`, out["name"].StringValue())
			}
		})
	}
}

func TestReleaseLifecycle(t *testing.T) {
	w := newWorld(t, nil)
	inputs := map[string]any{"name": "dns", "namespace": "default", "chart": "external-dns", "version": "1.21.1", "values": map[string]any{"a": "b"}}
	r, err := w.create(release, "dns", inputs)
	require.NoError(t, err)
	assert.Equal(t, "default/dns", r.ID)
	status := r.State["status"].ObjectValue()
	assert.Equal(t, "deployed", status["status"].StringValue())
	assert.InEpsilon(t, 1, status["revision"].NumberValue(), 0)
	assert.Equal(t, "1.21.1", status["version"].StringValue())

	_, err = w.create(release, "again", inputs)
	require.ErrorContains(t, err, "cannot re-use a name that is still in use")

	first := r.State["checksum"]
	r.Inputs["values"] = resource.NewProperty(props(map[string]any{"a": "c"}))
	out, err := w.kind(release).Update(context.Background(), r)
	require.NoError(t, err)
	assert.InEpsilon(t, 2, out["status"].ObjectValue()["revision"].NumberValue(), 0)
	assert.NotEqual(t, first, out["checksum"])

	require.NoError(t, w.kind(release).Delete(context.Background(), r))
	require.NoError(t, w.kind(release).Delete(context.Background(), r))
	id, _, err := w.kind(release).Read(context.Background(), r)
	require.NoError(t, err)
	assert.Empty(t, id)
	_, err = w.kind(release).Update(context.Background(), r)
	require.ErrorContains(t, err, "has no deployed releases")
}

func TestDiffRelease(t *testing.T) {
	w := newWorld(t, nil)
	for property, replaces := range map[string]bool{"name": true, "namespace": true, "version": false, "chart": false} {
		olds := map[string]any{"name": "a", "namespace": "b", "version": "1", "chart": "c"}
		news := maps.Clone(olds)
		news[property] = "x"
		diff, err := w.kind(release).Diff(context.Background(), &plugin.Request{OldInputs: props(olds), Inputs: props(news)})
		require.NoError(t, err)
		assert.Equal(t, map[string]plugin.Change{property: {Replaces: replaces}}, diff.Changed)
	}
}

func TestInstall(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]any
		bundle bool
		want   string
	}{
		"no namespace":            {map[string]any{"namespace": "dns"}, false, `namespaces "dns" not found`},
		"creates the namespace":   {map[string]any{"namespace": "dns", "createNamespace": true}, false, ""},
		"definitions are missing": {map[string]any{"chart": "kube-prometheus-stack", "skipCrds": true}, false, `needs its custom resource definitions first: no matches for kind "Alertmanager"`},
		"definitions disabled":    {map[string]any{"chart": "oci://ghcr.io/charts/kube-prometheus-stack", "values": map[string]any{"crds": map[string]any{"enabled": false}}}, false, "needs its custom resource definitions"},
		"definitions exist":       {map[string]any{"chart": "kube-prometheus-stack", "skipCrds": true}, true, ""},
		"chart's own definitions": {map[string]any{"chart": "kube-prometheus-stack"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			if test.bundle {
				require.NoError(t, w.cluster.InstallBundle("kube-prometheus-stack"))
			}
			inputs := map[string]any{"chart": "external-dns"}
			maps.Copy(inputs, test.change)
			_, err := w.create(release, "rel", inputs)
			check(t, test.want, err)
		})
	}
}
