package live_test

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	client "k8s.io/client-go/kubernetes"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/cluster/live"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/engine/plugin"
)

var server *apitest.Server

func TestMain(m *testing.M) {
	if runTask() {
		return
	}
	apitest.Main(m, "../../..", &server)
}

const (
	namespaceType   = "kubernetes:core/v1:Namespace"
	configMapType   = "kubernetes:core/v1:ConfigMap"
	secretType      = "kubernetes:core/v1:Secret"
	deploymentType  = "kubernetes:apps/v1:Deployment"
	ingressType     = "kubernetes:networking.k8s.io/v1:Ingress"
	policyType      = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
	classType       = "kubernetes:storage.k8s.io/v1:StorageClass"
	claimType       = "kubernetes:core/v1:PersistentVolumeClaim"
	definitionType  = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"
	applicationType = "kubernetes:argoproj.io/v1alpha1:Application"
)

// world is a provider connected to the API server, and a namespace of its own for each test.
type world struct {
	*testing.T
	provider  plugin.Provider
	namespace string
}

func newWorld(t *testing.T, config map[string]any) *world {
	t.Helper()
	server.Need(t)
	w := &world{T: t, provider: provider.New(live.Connector())}
	inputs := map[string]any{"kubeconfig": server.Kubeconfig}
	maps.Copy(inputs, config)
	require.NoError(t, w.provider.Configure(t.Context(), props(inputs)))
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", ",", "").Replace(t.Name()))
	w.namespace = w.must(namespaceType, object(name[:min(len(name), 63)], "", nil)).ID
	return w
}

func props(m map[string]any) resource.PropertyMap { return resource.NewPropertyMapFromMap(m) }

func object(name, ns string, rest map[string]any) map[string]any {
	metadata := map[string]any{"name": name}
	if ns != "" {
		metadata["namespace"] = ns
	}
	out := map[string]any{"metadata": metadata}
	maps.Copy(out, rest)
	return out
}

func annotated(o map[string]any, pairs ...string) map[string]any {
	annotations := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		annotations[pairs[i]] = pairs[i+1]
	}
	o["metadata"].(map[string]any)["annotations"] = annotations
	return o
}

// create checks the inputs and creates the resource. It returns the request for an update or a delete.
func (w *world) create(ctx context.Context, typ string, inputs map[string]any) (*plugin.Request, error) {
	w.Helper()
	kind := w.provider.Kinds(typ)
	require.NotNil(w, kind, typ)
	r := &plugin.Request{URN: resource.URN("urn:pulumi:dev::eco2::" + typ + "::res"), Type: typ, Name: "res", Inputs: props(inputs)}
	checked, failures := kind.Check(ctx, r)
	require.Empty(w, failures)
	r.Inputs = checked
	id, out, err := kind.Create(ctx, r)
	r.ID, r.State, r.OldInputs = id, out, checked
	return r, err
}

func (w *world) must(typ string, inputs map[string]any) *plugin.Request {
	w.Helper()
	ctx, stop := context.WithTimeout(w.Context(), time.Minute)
	defer stop()
	r, err := w.create(ctx, typ, inputs)
	require.NoError(w, err)
	return r
}

// update checks the inputs and updates the resource.
func (w *world) update(r *plugin.Request, inputs map[string]any) error {
	w.Helper()
	return w.updateIn(w.Context(), r, inputs)
}

func (w *world) updateIn(ctx context.Context, r *plugin.Request, inputs map[string]any) error {
	w.Helper()
	kind := w.provider.Kinds(r.Type)
	r.Inputs = props(inputs)
	checked, failures := kind.Check(ctx, r)
	require.Empty(w, failures)
	r.Inputs = checked
	out, err := kind.Update(ctx, r)
	if err == nil {
		r.State, r.OldInputs = out, checked
	}
	return err
}

func (w *world) delete(r *plugin.Request) error {
	w.Helper()
	return w.provider.Kinds(r.Type).Delete(w.Context(), r)
}

// drift returns the paths that a refresh shows as changed, which the next update would revert; ["gone"] if the object
// does not exist.
func (w *world) drift(r *plugin.Request) []string {
	w.Helper()
	kind := w.provider.Kinds(r.Type)
	read := *r
	read.Inputs = r.OldInputs
	id, state, err := kind.Read(w.Context(), &read)
	require.NoError(w, err)
	if id == "" {
		return []string{"gone"}
	}
	diff, err := kind.Diff(w.Context(), &plugin.Request{
		URN: r.URN, Type: r.Type, Name: r.Name, ID: id, OldInputs: read.Inputs, State: state, Inputs: r.OldInputs,
	})
	require.NoError(w, err)
	paths := []string{}
	for path := range diff.Changed {
		paths = append(paths, path)
	}
	return paths
}

func api(t *testing.T) *client.Clientset {
	t.Helper()
	c, err := server.Client()
	require.NoError(t, err)
	return c
}

func TestUnreachable(t *testing.T) {
	w := newWorld(t, nil)
	existing := w.must(configMapType, object("a", w.namespace, nil))
	connect := func(kubeconfig string, more map[string]any) *world {
		config := map[string]any{"kubeconfig": kubeconfig}
		maps.Copy(config, more)
		other := &world{T: t, provider: provider.New(live.Connector())}
		require.NoError(t, other.provider.Configure(t.Context(), props(config)))
		return other
	}
	endpoint, err := provider.ParseKubeconfig(server.Kubeconfig, "", "")
	require.NoError(t, err)
	for name, test := range map[string]struct{ kubeconfig, want string }{
		"connection refused": {strings.ReplaceAll(server.Kubeconfig, endpoint.Server, "https://127.0.0.1:1"), "connection refused"},
		"wrong token":        {strings.ReplaceAll(server.Kubeconfig, apitest.Token, "somebody-elses-token"), "does not accept the kubeconfig's credentials"},
		"wrong certificate":  {strings.ReplaceAll(server.Kubeconfig, "127.0.0.1", "127.0.0.2"), "127.0.0.2"},
		"unknown user":       {strings.ReplaceAll(server.Kubeconfig, "user: admin", "user: nobody"), "does not accept the kubeconfig's credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			other := connect(test.kubeconfig, nil)
			_, err := other.create(t.Context(), configMapType, object("b", "default", nil))
			require.ErrorContains(t, err, "configured Kubernetes cluster is unreachable")
			require.ErrorContains(t, err, test.want)
			for _, secret := range []string{apitest.Token, "somebody-elses-token", "certificate-authority-data"} {
				assert.NotContains(t, err.Error(), secret)
			}
			require.ErrorContains(t, other.delete(existing), "set deleteUnreachable on the provider")
			require.NoError(t, connect(test.kubeconfig, map[string]any{"deleteUnreachable": "true"}).delete(existing))
		})
	}
}

func TestContextSelectsTheUser(t *testing.T) {
	server.Need(t)
	const users = "\nusers:\n"
	text := strings.Replace(server.Kubeconfig, users, users+"- name: nobody\n  user: {token: nonsense}\n", 1)
	text = strings.Replace(text, "contexts:\n", "contexts:\n- name: other\n  context: {cluster: apitest, user: nobody}\n", 1)
	for name, test := range map[string]struct{ context, want string }{
		"the current context": {"", ""}, "another context": {"other", "does not accept the kubeconfig's credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, err := provider.ParseKubeconfig(text, test.context, "")
			require.NoError(t, err)
			_, err = live.Connector()(t.Context(), endpoint)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

// The objects are declared as the program declares them. The API server's defaults are not drift; a change of a
// declared field by hand is.
func TestDrift(t *testing.T) {
	w := newWorld(t, nil)
	w.must(definitionType, object("applications.argoproj.io", "", definition("argoproj.io", "v1alpha1", "Application", "applications")))
	for name, test := range map[string]struct {
		typ    string
		inputs map[string]any
		// byHand is a merge patch of the object.
		byHand string
		// drift lists the paths that a refresh shows as changed after it.
		drift []string
	}{
		"a namespace": {
			namespaceType, object(w.namespace+"-drift", "", map[string]any{"metadata": map[string]any{"name": w.namespace + "-drift", "labels": map[string]any{"a": "b"}}}),
			`{"metadata":{"labels":{"a":"c","other":"x"}}}`, []string{"metadata.labels.a"},
		},
		"a policy": {
			policyType, object("baseline", w.namespace, map[string]any{"spec": map[string]any{
				"podSelector": map[string]any{}, "policyTypes": []any{"Ingress", "Egress"},
				"ingress": []any{map[string]any{"ports": []any{map[string]any{"protocol": "TCP", "port": 10250.0}}}},
				"egress": []any{
					map[string]any{
						"to":    []any{map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": "kube-system"}}}},
						"ports": []any{map[string]any{"protocol": "UDP", "port": 53.0}, map[string]any{"port": 53.0}},
					},
					map[string]any{"to": []any{map[string]any{"ipBlock": map[string]any{"cidr": "0.0.0.0/0", "except": []any{"169.254.169.254/32"}}}}},
				},
			}}),
			`{"spec":{"ingress":[{"ports":[{"protocol":"TCP","port":10251}]}]}}`, []string{"spec.ingress[0].ports[0].port"},
		},
		"an ingress": {
			ingressType, annotated(object("argocd", w.namespace, map[string]any{"spec": map[string]any{
				"ingressClassName": "alb",
				"rules": []any{map[string]any{"host": "argocd.eco2.example", "http": map[string]any{"paths": []any{map[string]any{
					"path": "/", "pathType": "Prefix", "backend": map[string]any{"service": map[string]any{"name": "argocd-server", "port": map[string]any{"number": 80.0}}},
				}}}}},
			}}), "pulumi.com/skipAwait", "true"),
			`{"metadata":{"annotations":{"alb.ingress.kubernetes.io/group.name":"x"}},"spec":{"ingressClassName":"nginx"}}`, []string{"spec.ingressClassName"},
		},
		"a storage class": {
			classType, object(w.namespace+"-gp3", "", map[string]any{
				"provisioner": "ebs.csi.aws.com", "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
				"parameters": map[string]any{"type": "gp3", "encrypted": "true"},
			}),
			`{"allowVolumeExpansion":false}`, []string{"allowVolumeExpansion"},
		},
		"a custom resource": {
			applicationType, object("root", w.namespace, map[string]any{"spec": map[string]any{
				"project": "default", "source": map[string]any{"path": "apps", "directory": map[string]any{"recurse": false}},
				"syncPolicy": map[string]any{"automated": map[string]any{"prune": true}, "retry": map[string]any{"limit": 5.0}},
			}}),
			`{"spec":{"syncPolicy":{"automated":null}},"status":{"health":"Healthy"}}`, []string{"spec.syncPolicy.automated"},
		},
		"a claim": {
			claimType, annotated(object("data", w.namespace, map[string]any{"spec": map[string]any{
				"accessModes": []any{"ReadWriteOnce"}, "resources": map[string]any{"requests": map[string]any{"storage": "1024Mi"}},
			}}), "pulumi.com/skipAwait", "true"),
			"", nil,
		},
		"a deployment": {
			deploymentType, object("nothing", w.namespace, map[string]any{"spec": deploymentSpec(0)}),
			`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"another","resources":{"limits":{"cpu":"0.5"}}}]}}}}`, []string{"spec.template.spec.containers[0].image"},
		},
		"a secret": {
			secretType, object("s", w.namespace, map[string]any{"stringData": map[string]any{"password": "correct horse"}}),
			`{"stringData":{"password":"battery staple"}}`, []string{"stringData.password"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, provider: w.provider, namespace: w.namespace}
			r := w.must(test.typ, test.inputs)
			t.Cleanup(func() { require.NoError(t, w.provider.Kinds(r.Type).Delete(context.Background(), r)) })
			assert.Empty(t, w.drift(r))
			if test.byHand == "" {
				return
			}
			_, err := api(t).RESTClient().Patch(types.MergePatchType).AbsPath(path(r)).
				Param("fieldManager", "kubectl-edit").Body([]byte(test.byHand)).DoRaw(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.drift, w.drift(r))
			assert.NotContains(t, r.State["metadata"].ObjectValue(), resource.PropertyKey("managedFields"))
		})
	}
}

// path returns an object's URL path on the API server.
func path(r *plugin.Request) string {
	apiVersion := r.Inputs["apiVersion"].StringValue()
	metadata := r.Inputs["metadata"].ObjectValue()
	path := "/apis/" + apiVersion
	if apiVersion == "v1" {
		path = "/api/v1"
	}
	if metadata.HasValue("namespace") {
		path += "/namespaces/" + metadata["namespace"].StringValue()
	}
	plural := map[string]string{"NetworkPolicy": "networkpolicies", "Ingress": "ingresses", "StorageClass": "storageclasses"}
	kind := r.Inputs["kind"].StringValue()
	if plural[kind] == "" {
		plural[kind] = strings.ToLower(kind) + "s"
	}
	return path + "/" + plural[kind] + "/" + metadata["name"].StringValue()
}

func deploymentSpec(replicas float64) map[string]any {
	labels := map[string]any{"app": "a"}
	return map[string]any{
		"replicas": replicas, "selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "main", "image": "eco2.example/main:1", "resources": map[string]any{"limits": map[string]any{"cpu": "0.5"}}}}},
		},
	}
}

func definition(group, version, kind, plural string) map[string]any {
	return map[string]any{"spec": map[string]any{
		"group": group, "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural, "singular": strings.ToLower(kind), "listKind": kind + "List"},
		"versions": []any{map[string]any{
			"name": version, "served": true, "storage": true,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		}},
	}}
}

func TestApply(t *testing.T) {
	w := newWorld(t, map[string]any{"enableConfigMapMutable": "true"})
	data := func(pairs ...string) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return object("a", w.namespace, map[string]any{"data": m})
	}
	r := w.must(configMapType, data("k", "v", "gone", "x"))
	assert.Equal(t, w.namespace+"/a", r.ID)
	require.NoError(t, w.update(r, data("k", "w")))
	assert.Equal(t, props(map[string]any{"k": "w"}), r.State["data"].ObjectValue(), "a field that is no longer applied is removed")

	_, err := w.create(t.Context(), configMapType, data("k", "v"))
	require.ErrorContains(t, err, "ConfigMap "+w.namespace+"/a already exists")

	_, err = api(t).CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"k":"by hand"}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	require.NoError(t, err)
	err = w.update(r, data("k", "x"))
	require.ErrorContains(t, err, `conflict with "kubectl-edit" using v1: .data.k`)
	require.ErrorContains(t, err, "pulumi.com/patchForce")
	require.NoError(t, w.update(r, annotated(data("k", "x"), "pulumi.com/patchForce", "true")))
	assert.Equal(t, "x", r.State["data"].ObjectValue()["k"].StringValue())

	_, err = w.create(t.Context(), policyType, object("wrong", w.namespace, map[string]any{"spec": map[string]any{"podSelektor": map[string]any{}}}))
	require.ErrorContains(t, err, "podSelektor")

	require.NoError(t, w.delete(r))
	require.NoError(t, w.delete(r), "deleting a missing object is not an error")
	assert.Equal(t, []string{"gone"}, w.drift(r))
}

func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.create(t.Context(), secretType, object("s", w.namespace, map[string]any{
		"type": "kubernetes.io/tls", "stringData": map[string]any{"tls.key": "correct horse battery"}, "data": map[string]any{"tls.crt": "not base64: hunter22"},
	}))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "correct horse")
	assert.NotContains(t, err.Error(), "hunter22")
	r := w.must(secretType, object("s", w.namespace, map[string]any{"stringData": map[string]any{"k": "v"}}))
	assert.True(t, r.State["data"].IsSecret())
}

// The definition is created while the creation of an object of its kind already waits for it.
func TestObjectWaitsForItsDefinition(t *testing.T) {
	w := newWorld(t, nil)
	// This lookup makes the discovery cache remember that the kind does not exist.
	const typ = "kubernetes:late.example.com/v1:Late"
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	_, err := w.create(ctx, typ, object("a", w.namespace, nil))
	require.ErrorContains(t, err, `no matches for kind "Late" in version "late.example.com/v1"`)

	created := make(chan error, 1)
	go func() {
		_, err := w.create(t.Context(), typ, object("a", w.namespace, map[string]any{"spec": map[string]any{"x": "y"}}))
		created <- err
	}()
	crd := w.must(definitionType, object("lates.late.example.com", "", definition("late.example.com", "v1", "Late", "lates")))
	require.NoError(t, <-created)
	assert.Equal(t, "True", established(t, crd))

	require.NoError(t, w.delete(crd))
	late := &plugin.Request{Type: typ, ID: w.namespace + "/a", URN: "urn:pulumi:dev::eco2::" + typ + "::res"}
	id, _, err := w.provider.Kinds(typ).Read(t.Context(), late)
	require.NoError(t, err)
	assert.Empty(t, id, "deleting a definition deletes its objects")
}

func established(t *testing.T, crd *plugin.Request) string {
	t.Helper()
	for _, condition := range crd.State["status"].ObjectValue()["conditions"].ArrayValue() {
		if c := condition.ObjectValue(); c["type"].StringValue() == "Established" {
			return c["status"].StringValue()
		}
	}
	return ""
}

func TestCreateWaitsUntilReady(t *testing.T) {
	w := newWorld(t, nil)
	r, err := w.create(t.Context(), deploymentType, annotated(object("never", w.namespace, map[string]any{"spec": deploymentSpec(1)}), "pulumi.com/timeoutSeconds", "2"))
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial, "the object exists and must go into the state")
	assert.Equal(t, w.namespace+"/never", partial.ID)
	assert.NotEmpty(t, partial.Outputs["metadata"].ObjectValue()["uid"].StringValue())
	assert.Contains(t, partial.Reason, "it took too long")
	assert.Contains(t, partial.Reason, "Available: 0/1")
	r.ID = partial.ID
	require.NoError(t, w.delete(r))

	w.must(deploymentType, annotated(object("never", w.namespace, map[string]any{"spec": deploymentSpec(1)}), "pulumi.com/skipAwait", "true"))
	w.must(deploymentType, object("empty", w.namespace, map[string]any{"spec": deploymentSpec(0)}))

	_, err = w.create(t.Context(), configMapType, annotated(object("a", w.namespace, nil), "pulumi.com/waitFor", "condition=Ready"))
	require.ErrorContains(t, err, "does not support the annotation pulumi.com/waitFor")

	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, err = w.create(ctx, ingressType, object("i", w.namespace, map[string]any{"spec": map[string]any{"defaultBackend": map[string]any{"service": map[string]any{"name": "x", "port": map[string]any{"number": 80.0}}}}}))
	require.ErrorIs(t, err, context.Canceled)
}

func TestInterruptEndsTheWait(t *testing.T) {
	w := newWorld(t, nil)
	ctx, interrupt := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := w.create(ctx, deploymentType, object("never", w.namespace, map[string]any{"spec": deploymentSpec(1)}))
		failed <- err
	}()
	require.Eventually(t, func() bool {
		deployments, err := api(t).AppsV1().Deployments(w.namespace).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(deployments.Items) == 1 && deployments.Items[0].Status.ObservedGeneration > 0
	}, time.Minute, 50*time.Millisecond)
	interrupt()
	require.ErrorContains(t, <-failed, "interrupted: ")
}

func TestDeleteWaitsForFinalizers(t *testing.T) {
	w := newWorld(t, nil)
	inputs := object("held", w.namespace, nil)
	inputs["metadata"].(map[string]any)["finalizers"] = []any{"eco2.example/hold"}
	r := w.must(configMapType, inputs)
	r.Timeout = time.Second
	err := w.delete(r)
	require.ErrorContains(t, err, "it was deleted and still exists")
	require.ErrorContains(t, err, "eco2.example/hold")

	inside, err := w.create(t.Context(), namespaceType, object(w.namespace+"-in", "", nil))
	require.NoError(t, err)
	inputs["metadata"].(map[string]any)["namespace"] = w.namespace + "-in"
	w.must(configMapType, inputs)
	inside.Timeout = 10 * time.Second
	err = w.delete(inside)
	require.ErrorContains(t, err, "eco2.example/hold in 1 resource instances")

	for _, ns := range []string{w.namespace, w.namespace + "-in"} {
		_, err := api(t).CoreV1().ConfigMaps(ns).Patch(t.Context(), "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	inside.Timeout = time.Minute
	require.NoError(t, w.delete(inside))
}

// Neither KUBECONFIG nor Helm's variables select another cluster or namespace.
func TestEnvironmentVariablesAreIgnored(t *testing.T) {
	t.Setenv("KUBECONFIG", os.DevNull)
	t.Setenv("HELM_NAMESPACE", "elsewhere")
	w := newWorld(t, nil)
	w.must(configMapType, object("a", w.namespace, nil))
}
