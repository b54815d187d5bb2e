package loadbalancer

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi/awsapitest"
	awsclient "eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/charts"
	"eco2/rehearsal/charts/chartstest"
	"eco2/rehearsal/incluster"
	"eco2/rehearsal/incluster/loadbalancer/describe"
	"eco2/rehearsal/kubernetes/apitest"
)

// policy is what the chart says of TLS.
const policy = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"

var api *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, "../../..", &api) }

// patience is how long the controller may take for anything.
const patience = 30 * time.Second

// stubborn is an AWS that does not let go of load balancers for a while.
type stubborn struct {
	describe.AWS
	holds atomic.Bool
}

func (s *stubborn) Call(ctx context.Context, service, target string, in, out any) error {
	if target == elb.DeleteLoadBalancer && s.holds.Load() {
		return &awsclient.Error{Code: "OperationNotPermitted", Message: "not yet"}
	}
	return s.AWS.Call(ctx, service, target, in, out)
}

// world is a cluster with the controller, and its AWS.
type world struct {
	*awsapitest.World
	cluster client.Client
	aws     *stubborn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	api.Need(t)
	w := &world{World: awsapitest.New(t, "../../..")}
	w.aws = &stubborn{AWS: w.Client}
	ours, err := charts.Ours()
	require.NoError(t, err)
	release := chartstest.Releases(t, "../../..", "dev")["aws-load-balancer-controller"]
	chartstest.Grant(t, api.Kubeconfig, release.Namespace, release.Name, chartstest.Rights(chartstest.Objects(t, ours, release)))
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(api.Kubeconfig))
	require.NoError(t, err)
	kinds, err := incluster.Kinds(corev1.AddToScheme, networkingv1.AddToScheme, eventsv1.AddToScheme)
	require.NoError(t, err)
	w.cluster, err = client.New(config, client.Options{Scheme: kinds})
	require.NoError(t, err)

	options, err := options()
	require.NoError(t, err)
	options.HealthProbeBindAddress = "127.0.0.1:0"
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- incluster.Run(ctx, options, func(m manager.Manager) error {
			return add(m, Settings{Cluster: awsapitest.Cluster, VPC: w.VPC, SSLPolicy: policy}, w.aws)
		})
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-ended)
	})
	return w
}

func (w *world) create(object client.Object) {
	w.Helper()
	require.NoError(w, w.cluster.Create(w.Context(), object))
}

// node makes a node that is ready.
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

// ingress makes one with the program's annotations for Argo CD, changed.
func (w *world) ingress(name, path, service string, change map[string]string) *networkingv1.Ingress {
	w.Helper()
	annotations := map[string]string{}
	for key, value := range change {
		if value != "" {
			annotations[describe.Annotation+key] = value
		}
	}
	class, prefix := "alb", networkingv1.PathTypePrefix
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: annotations},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{
			Host: name + ".example.com",
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: path, PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
				}},
			}}}},
		}}},
	}
	w.create(ingress)
	return ingress
}

func (w *world) eventually(condition func() bool, what string) {
	w.Helper()
	require.Eventually(w, condition, patience, 50*time.Millisecond, what)
}

// refresh reads an Ingress again; false if it is gone.
func (w *world) refresh(ingress *networkingv1.Ingress) bool {
	w.Helper()
	err := w.cluster.Get(w.Context(), client.ObjectKeyFromObject(ingress), ingress)
	require.NoError(w, client.IgnoreNotFound(err))
	return err == nil
}

// published waits for the address of an Ingress.
func (w *world) published(ingress *networkingv1.Ingress) {
	w.Helper()
	w.eventually(func() bool {
		w.refresh(ingress)
		return len(ingress.Status.LoadBalancer.Ingress) == 1
	}, "the Ingress's address")
}

// told waits for an event about an Ingress.
func (w *world) told(ingress *networkingv1.Ingress, reason, note string) {
	w.Helper()
	w.eventually(func() bool {
		var events eventsv1.EventList
		require.NoError(w, w.cluster.List(w.Context(), &events, client.InNamespace("default")))
		return slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
			return e.Regarding.Name == ingress.Name && e.Reason == reason && strings.Contains(e.Note, note)
		})
	}, "an event "+reason+": "+note)
}

func (w *world) balancers() []aws.LoadBalancer {
	w.Helper()
	all, err := w.Account.LoadBalancers()
	require.NoError(w, err)
	return all
}

// balancer waits until there is one, and it is as wanted.
func (w *world) balancer(wanted func(aws.LoadBalancer) bool, what string) aws.LoadBalancer {
	w.Helper()
	w.eventually(func() bool { all := w.balancers(); return len(all) == 1 && wanted(all[0]) }, what)
	return w.balancers()[0]
}

func TestIngresses(t *testing.T) {
	w := newWorld(t)
	certificate := w.Certificate("argocd.example.com")
	groups, err := w.Account.Groups()
	require.NoError(t, err)
	w.create(&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "alb"}, Spec: networkingv1.IngressClassSpec{Controller: controllerName}})
	w.create(&networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/other"}})
	w.node("master", "", map[string]string{corev1.LabelNodeExcludeBalancers: ""})
	var workers []*corev1.Node
	for i, zone := range []string{"a", "b"} {
		workers = append(workers, w.node("worker-"+zone, "aws:///"+awsapitest.Region+zone+"/"+w.Instances[i], nil))
	}
	w.service("argocd-server", corev1.ServiceTypeNodePort, 30443)
	w.service("api", corev1.ServiceTypeNodePort, 30080)
	w.service("inner", corev1.ServiceTypeClusterIP, 0)
	settings := func(change ...string) map[string]string {
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

	argocd := w.ingress("argocd", "/", "argocd-server", settings())
	w.published(argocd)
	assert.Equal(t, []string{"group.ingress.k8s.aws/eco2-dev"}, argocd.Finalizers)
	made := w.balancers()[0]
	assert.Equal(t, made.DNSName, argocd.Status.LoadBalancer.Ingress[0].Hostname)
	assert.Equal(t, []string{w.Group}, made.SecurityGroupIDs)
	assert.Len(t, made.SubnetIDs, 2, "one in each zone")
	assert.Equal(t, []string{certificate}, made.CertificateARNs)
	assert.Equal(t, awsapitest.Cluster, made.Tags["elbv2.k8s.aws/cluster"])
	require.Len(t, made.TargetGroups, 1)
	instances := slices.Sorted(slices.Values(w.Instances))
	target := made.TargetGroups[0].Name
	assert.Equal(t, elb.TargetGroup{Name: target, Protocol: "HTTP", NodePort: 30443, HealthCheckPath: "/healthz", HealthCheckCodes: "200", InstanceIDs: instances}, made.TargetGroups[0])
	assert.Equal(t, []elb.Listener{
		{Port: 80, Protocol: "HTTP", RedirectPort: 443},
		{Port: 443, Protocol: "HTTPS", SSLPolicy: policy, Rules: []elb.Rule{{Host: "argocd.example.com", Path: "/*", TargetGroup: target}}},
	}, made.Listeners)
	w.told(argocd, "SuccessfullyReconciled", "")

	t.Run("a group shares a load balancer, and one's security group is all's", func(t *testing.T) {
		api := w.ingress("api", "/v1/", "api", settings("security-groups", "", "healthcheck-path", "/health", "ssl-redirect", ""))
		w.published(api)
		both := w.balancer(func(b aws.LoadBalancer) bool { return len(b.TargetGroups) == 2 }, "both target groups")
		assert.Equal(t, made.ARN, both.ARN)
		assert.Equal(t, []string{"/v1", "/v1/*", "/*"}, []string{both.Listeners[1].Rules[0].Path, both.Listeners[1].Rules[1].Path, both.Listeners[1].Rules[2].Path})

		require.NoError(t, w.cluster.Delete(t.Context(), api))
		w.eventually(func() bool { return !w.refresh(api) }, "the end of the Ingress")
		assert.Len(t, w.balancers()[0].TargetGroups, 1)
	})
	t.Run("it is in the subnets that one names, and else in those that are found", func(t *testing.T) {
		name := func(subnets ...string) {
			t.Helper()
			require.True(t, w.refresh(argocd))
			argocd.Annotations[describe.Annotation+"subnets"] = strings.Join(subnets, ",")
			if len(subnets) == 0 {
				delete(argocd.Annotations, describe.Annotation+"subnets")
			}
			require.NoError(t, w.cluster.Update(t.Context(), argocd))
		}
		in := func(subnets ...string) {
			t.Helper()
			w.balancer(func(b aws.LoadBalancer) bool {
				return slices.Equal(slices.Sorted(slices.Values(b.SubnetIDs)), slices.Sorted(slices.Values(subnets)))
			}, "its subnets")
		}
		other := []string{w.Subnets[1], w.Subnets[0]} // zone a has two, of which one was found
		if slices.Contains(made.SubnetIDs, w.Subnets[0]) {
			other[1] = w.Subnets[2]
		}
		name(other...)
		in(other...)
		api := w.ingress("api", "/v1/", "api", settings("ssl-redirect", ""))
		w.published(api)
		in(other...)
		require.NoError(t, w.cluster.Delete(t.Context(), api))
		w.eventually(func() bool { return !w.refresh(api) }, "the end of the Ingress")
		differing := w.ingress("differing", "/", "api", settings("subnets", strings.Join(made.SubnetIDs, ",")))
		w.told(differing, "FailedBuildModel", "conflicting subnets in group eco2-dev")
		in(other...)
		require.NoError(t, w.cluster.Delete(t.Context(), differing))
		w.eventually(func() bool { return !w.refresh(differing) }, "the end of the Ingress")
		name()
		in(made.SubnetIDs...)
	})
	t.Run("machines that stop to be ready are no targets", func(t *testing.T) {
		ready := func(status corev1.ConditionStatus, targets int) {
			workers[0].Status.Conditions[0].Status = status
			require.NoError(t, w.cluster.Status().Update(t.Context(), workers[0]))
			w.balancer(func(b aws.LoadBalancer) bool { return len(b.TargetGroups[0].InstanceIDs) == targets }, "targets")
		}
		ready(corev1.ConditionUnknown, 1)
		ready(corev1.ConditionTrue, 2)
	})
	t.Run("what cannot be is said", func(t *testing.T) {
		for name, test := range map[string]struct {
			service, reason, note string
			change                []string
		}{
			"without-group":    {"api", "FailedDeployModel", "is not authorized to perform: ec2:CreateSecurityGroup", []string{"security-groups", ""}},
			"without-port":     {"inner", "FailedBuildModel", "TargetGroup port is empty", nil},
			"without-service":  {"none", "FailedBuildModel", `"none" not found`, nil},
			"with-another":     {"api", "FailedBuildModel", "alb.ingress.kubernetes.io/wafv2-acl-arn: the rehearsal's controller does not know it", []string{"wafv2-acl-arn", "arn:x"}},
			"in-no-subnet":     {"api", "FailedBuildModel", "couldn't auto-discover subnets", []string{"scheme", "internal"}},
			"with-a-wrong-arn": {"api", "FailedDeployModel", "CertificateNotFound", []string{"certificate-arn", "arn:x"}},
			"redirected":       {"api", "FailedBuildModel", "listener does not exist for SSLRedirect port: 8443", []string{"ssl-redirect", "8443"}},
		} {
			wrong := w.ingress(name, "/", test.service, settings(append(test.change, "group.name", name)...))
			w.told(wrong, test.reason, test.note)
			assert.Len(t, w.balancers(), 1)
			require.NoError(t, w.cluster.Delete(t.Context(), wrong))
			w.eventually(func() bool { return !w.refresh(wrong) }, "the end of the Ingress")
		}
		stray := w.node("stray", "", nil)
		w.told(argocd, "FailedBuildModel", "providerID is not specified for node: stray")
		require.NoError(t, w.cluster.Delete(t.Context(), stray))
	})
	t.Run("one alone, and another's", func(t *testing.T) {
		alone := w.ingress("alone", "/", "api", settings("group.name", ""))
		w.published(alone)
		assert.Equal(t, []string{"ingress.k8s.aws/resources"}, alone.Finalizers)
		assert.Len(t, w.balancers(), 2)
		other := "other"
		alone.Spec.IngressClassName = &other
		require.NoError(t, w.cluster.Update(t.Context(), alone))
		w.eventually(func() bool { w.refresh(alone); return len(alone.Finalizers) == 0 && len(w.balancers()) == 1 }, "its release")
		assert.Empty(t, alone.Status.LoadBalancer.Ingress)
	})
	t.Run("an Ingress goes after its load balancer", func(t *testing.T) {
		w.aws.holds.Store(true)
		require.NoError(t, w.cluster.Delete(t.Context(), argocd))
		w.told(argocd, "FailedDeployModel", "OperationNotPermitted")
		assert.True(t, w.refresh(argocd))
		w.aws.holds.Store(false)
		w.eventually(func() bool { return !w.refresh(argocd) }, "the end of the Ingress")
		assert.Empty(t, w.balancers())
	})
	after, err := w.Account.Groups()
	require.NoError(t, err)
	assert.Equal(t, groups, after, "no security group was made or changed")
}
