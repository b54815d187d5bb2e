package releases

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/printed"
	"eco2/rehearsal/standin"
	"eco2/rehearsal/supply/charts/chartstest"
	"eco2/rehearsal/supply/mirror"
)

// waitTimeout is the timeout for everything that the controller does.
const waitTimeout = 30 * time.Second

const annotation = "alb.ingress.kubernetes.io/"

// world is a cluster with the real controller, and its AWS account.
type world struct {
	*awsapitest.World
	cluster client.Client
	output  *printed.Text
	// stop stops the controller.
	stop func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	api.Need(t)
	built, err := mirror.Find(repo, loadBalancer.name)
	needs.Built(t, err)
	w := &world{World: awsapitest.New(t, repo), output: &printed.Text{}}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(api.Kubeconfig))
	require.NoError(t, err)
	kinds, err := standin.NewScheme(corev1.AddToScheme, networkingv1.AddToScheme, eventsv1.AddToScheme)
	require.NoError(t, err)
	w.cluster, err = client.New(config, client.Options{Scheme: kinds})
	require.NoError(t, err)
	w.define()

	objects := rendered(t, "dev")
	port, certificates := freePort(t), t.TempDir()
	release := chartstest.Releases(t, repo, "dev")[loadBalancer.name]
	rbac := chartstest.RBAC(objects)
	chartstest.Grant(t, api.Kubeconfig, release.Namespace, loadBalancer.name, rbac)
	for _, o := range objects {
		if !slices.Contains(rbac, o) {
			w.install(o, port, certificates)
		}
	}
	args := one[appsv1.Deployment](t, objects, "Deployment").Spec.Template.Spec.Containers[0].Args
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "network-id", w.VPC)
	}
	w.run(built.Binary(loadBalancer.name), append(args, "--kubeconfig="+os.Getenv("KUBECONFIG"), "--metrics-bind-addr=127.0.0.1:0",
		"--health-probe-bind-addr=127.0.0.1:0", "--leader-election-namespace=kube-system", fmt.Sprintf("--webhook-bind-port=%d", port),
		"--webhook-cert-dir="+certificates))
	return w
}

// run runs the controller until the test ends.
func (w *world) run(binary string, args []string) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	command := exec.CommandContext(ctx, binary, args...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // so that it releases its lease
	command.WaitDelay = 10 * time.Second
	command.Stdout, command.Stderr = w.output, w.output
	require.NoError(w, command.Start())
	w.stop = sync.OnceFunc(func() {
		stop()
		_ = command.Wait() // it was interrupted
	})
	w.Cleanup(func() {
		w.stop()
		if w.Failed() {
			w.Log(w.output.String())
		}
	})
	w.eventually(func() bool { return strings.Contains(w.output.String(), "Starting workers") }, "the controller's start")
}

// define creates the custom resource definitions of the module, and waits until they are established.
func (w *world) define() {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(source(w.T, loadBalancer), "helm", loadBalancer.name, "crds", "crds.yaml"))
	require.NoError(w, err)
	for _, text := range strings.Split(string(data), "\n---\n") {
		o := &unstructured.Unstructured{}
		require.NoError(w, yaml.Unmarshal([]byte(text), &o.Object))
		if o.GetKind() == "" {
			continue
		}
		require.NoError(w, client.IgnoreAlreadyExists(w.cluster.Create(w.Context(), o)))
		w.eventually(func() bool {
			require.NoError(w, w.cluster.Get(w.Context(), client.ObjectKeyFromObject(o), o))
			conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
			return slices.ContainsFunc(conditions, func(c any) bool {
				condition := c.(map[string]any)
				return condition["type"] == "Established" && condition["status"] == "True"
			})
		}, "the definition of "+o.GetName())
	}
}

// install creates an object of the chart. As there are no nodes to run the webhooks on, the API server reaches them at
// a port of this host: their Service is of type ExternalName and points to localhost.
func (w *world) install(o *unstructured.Unstructured, port int, certificates string) {
	w.Helper()
	switch o.GetKind() {
	case "Deployment":
		return
	case "List":
		require.NoError(w, o.EachListItem(func(item runtime.Object) error {
			w.install(item.(*unstructured.Unstructured), port, certificates)
			return nil
		}))
		return
	case "Service":
		require.NoError(w, unstructured.SetNestedMap(o.Object, map[string]any{"type": "ExternalName", "externalName": "localhost"}, "spec"))
	case "Secret":
		data, _, err := unstructured.NestedStringMap(o.Object, "data")
		require.NoError(w, err)
		secret := one[corev1.Secret](w.T, []*unstructured.Unstructured{o}, "Secret")
		for file := range data {
			require.NoError(w, os.WriteFile(filepath.Join(certificates, file), secret.Data[file], 0o600))
		}
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		webhooks, _, err := unstructured.NestedSlice(o.Object, "webhooks")
		require.NoError(w, err)
		for _, webhook := range webhooks {
			require.NoError(w, unstructured.SetNestedField(webhook.(map[string]any), int64(port), "clientConfig", "service", "port"))
		}
		require.NoError(w, unstructured.SetNestedSlice(o.Object, webhooks, "webhooks"))
		w.Cleanup(func() { // otherwise it blocks the next test's objects
			require.NoError(w, client.IgnoreNotFound(w.cluster.Delete(context.Background(), o)))
		})
	}
	err := w.cluster.Create(w.Context(), o)
	if apierrors.IsAlreadyExists(err) { // from an earlier test
		w.update(o)
		return
	}
	require.NoError(w, err, "%s %s", o.GetKind(), o.GetName())
}

func (w *world) update(o *unstructured.Unstructured) {
	w.Helper()
	is := &unstructured.Unstructured{}
	is.SetGroupVersionKind(o.GroupVersionKind())
	require.NoError(w, w.cluster.Get(w.Context(), client.ObjectKeyFromObject(o), is))
	o.SetResourceVersion(is.GetResourceVersion())
	require.NoError(w, w.cluster.Update(w.Context(), o))
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }() // only the number is needed
	return listener.Addr().(*net.TCPAddr).Port
}

func (w *world) create(object client.Object) {
	w.Helper()
	require.NoError(w, w.cluster.Create(w.Context(), object))
	w.Cleanup(func() { // the next test uses the same API server
		require.NoError(w, client.IgnoreNotFound(w.cluster.Delete(context.Background(), object)))
	})
}

// node creates a node that is ready.
func (w *world) node(name, providerID string, labels map[string]string) *corev1.Node {
	w.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{ProviderID: providerID}}
	w.create(node)
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	require.NoError(w, w.cluster.Status().Update(w.Context(), node))
	return node
}

func (w *world) service(name string, kind corev1.ServiceType, nodePort int32) {
	w.Helper()
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Type: kind, Ports: []corev1.ServicePort{{Name: "http", Port: 80, NodePort: nodePort}},
	}})
}

// settings returns the annotations of an Ingress that serves the web, with changes; an empty value removes one.
func (w *world) settings(certificate string, change ...string) map[string]string {
	all := map[string]string{
		"scheme": "internet-facing", "target-type": "instance", "group.name": "eco2-dev",
		"listen-ports": `[{"HTTP":80},{"HTTPS":443}]`, "ssl-redirect": "443", "certificate-arn": certificate,
		"security-groups": w.Group, "backend-protocol": "HTTP", "healthcheck-protocol": "HTTP",
		"healthcheck-path": "/healthz", "success-codes": "200",
	}
	for pair := range slices.Chunk(change, 2) {
		all[pair[0]] = pair[1]
	}
	return all
}

func (w *world) ingress(name, path, service string, annotations map[string]string) *networkingv1.Ingress {
	w.Helper()
	return w.ingressTo(networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}, name, name, path, annotations)
}

// ingressTo creates an Ingress of a backend for a path of a host in example.com.
func (w *world) ingressTo(backend networkingv1.IngressServiceBackend, name, host, path string, annotations map[string]string) *networkingv1.Ingress {
	w.Helper()
	class, prefix := "alb", networkingv1.PathTypePrefix
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{}},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{
			Host: host + ".example.com",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: path, PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &backend},
			}}}},
		}}},
	}
	for key, value := range annotations {
		if value != "" {
			ingress.Annotations[annotation+key] = value
		}
	}
	// The webhook may not be ready yet.
	w.eventually(func() bool {
		err := w.cluster.Create(w.Context(), ingress)
		if apierrors.IsInternalError(err) {
			return false
		}
		require.NoError(w, err)
		return true
	}, "the webhook for Ingresses")
	return ingress
}

// annotate changes one of an Ingress's annotations; an empty value removes it.
func (w *world) annotate(ingress *networkingv1.Ingress, key, value string) {
	w.Helper()
	w.eventually(func() bool {
		require.True(w, w.refresh(ingress))
		ingress.Annotations[annotation+key] = value
		if value == "" {
			delete(ingress.Annotations, annotation+key)
		}
		return w.cluster.Update(w.Context(), ingress) == nil
	}, "the change of an annotation")
}

func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func (w *world) eventually(condition func() bool, what string) {
	w.Helper()
	require.Eventually(w, condition, waitTimeout, 50*time.Millisecond, what)
}

// refresh reads an Ingress again. It returns false if the Ingress no longer exists.
func (w *world) refresh(ingress *networkingv1.Ingress) bool {
	w.Helper()
	err := w.cluster.Get(w.Context(), client.ObjectKeyFromObject(ingress), ingress)
	require.NoError(w, client.IgnoreNotFound(err))
	return err == nil
}

// waitForAddress waits until the status of an Ingress has an address.
func (w *world) waitForAddress(ingress *networkingv1.Ingress) {
	w.Helper()
	w.eventually(func() bool {
		w.refresh(ingress)
		return len(ingress.Status.LoadBalancer.Ingress) == 1
	}, "the Ingress's address")
}

// deleteAndWait deletes an Ingress and waits until it no longer exists.
func (w *world) deleteAndWait(ingress *networkingv1.Ingress) {
	w.Helper()
	require.NoError(w, w.cluster.Delete(w.Context(), ingress))
	w.eventually(func() bool { return !w.refresh(ingress) }, "the delete of the Ingress")
}

// waitForEvent waits for an event about an Ingress.
func (w *world) waitForEvent(ingress *networkingv1.Ingress, reason, note string) {
	w.Helper()
	w.eventually(func() bool {
		var list eventsv1.EventList
		require.NoError(w, w.cluster.List(w.Context(), &list, client.InNamespace("default")))
		return slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Regarding.UID == ingress.UID && e.Reason == reason && strings.Contains(e.Note, note)
		})
	}, "an event "+reason+": "+note)
}

func (w *world) balancers() []aws.LoadBalancer {
	w.Helper()
	all, err := w.Account.LoadBalancers()
	require.NoError(w, err)
	return all
}

func (w *world) groups() []aws.TargetGroup {
	w.Helper()
	all, err := w.Account.TargetGroups()
	require.NoError(w, err)
	return all
}

// waitForBalancer waits until there is exactly one load balancer and it meets a condition.
func (w *world) waitForBalancer(condition func(aws.LoadBalancer) bool, what string) aws.LoadBalancer {
	w.Helper()
	w.eventually(func() bool { all := w.balancers(); return len(all) == 1 && condition(all[0]) }, what)
	return w.balancers()[0]
}

// listener returns the listener of a port.
func listener(t *testing.T, b aws.LoadBalancer, port int) aws.Listener {
	t.Helper()
	at := slices.IndexFunc(b.Listeners, func(l aws.Listener) bool { return l.Port == port })
	require.GreaterOrEqual(t, at, 0, "a listener on port %d", port)
	return b.Listeners[at]
}

// routes describes a listener's rules in their order: "HOSTS PATHS -> TARGET GROUP", or "-> port PORT" for a redirect.
func (w *world) routes(l aws.Listener) (routes []string) {
	w.Helper()
	names := map[string]string{}
	for _, g := range w.groups() {
		names[g.ARN] = g.Name
	}
	rules := slices.SortedFunc(slices.Values(l.Rules), func(a, b aws.ListenerRule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		var hosts, paths []string
		for _, c := range r.Conditions {
			if c.HostHeaderConfig != nil {
				hosts = c.HostHeaderConfig.Values
			}
			if c.PathPatternConfig != nil {
				paths = c.PathPatternConfig.Values
			}
		}
		var name string
		if redirect := r.Actions[0].RedirectConfig; redirect != nil {
			name = "port " + *redirect.Port
		} else {
			require.Equal(w, types.ActionTypeEnumForward, r.Actions[0].Type)
			name, _, _ = strings.Cut(strings.TrimPrefix(names[*r.Actions[0].TargetGroupArn], "k8s-default-"), "-")
		}
		routes = append(routes, fmt.Sprintf("%s %s -> %s", strings.Join(hosts, ","), strings.Join(paths, ","), name))
	}
	return routes
}

// nothingDenied checks that AWS has denied no request so far.
func (w *world) nothingDenied() {
	w.Helper()
	assert.Empty(w, w.API.Denied())
}
