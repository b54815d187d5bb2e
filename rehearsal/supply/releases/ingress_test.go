package releases

import (
	"slices"
	"strings"
	"testing"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
)

// policy is the security policy that the chart sets for HTTPS listeners.
const policy = "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"

// populate creates nodes and Services.
func (w *world) populate() (workers []*corev1.Node) {
	w.Helper()
	w.node("master", "", map[string]string{corev1.LabelNodeExcludeBalancers: ""})
	for i, zone := range []string{"a", "b"} {
		workers = append(workers, w.node("worker-"+zone, "aws:///"+awsapitest.Region+zone+"/"+w.Instances[i], nil))
	}
	w.service("argocd", corev1.ServiceTypeNodePort, 30443)
	w.service("api", corev1.ServiceTypeNodePort, 30080)
	w.service("inner", corev1.ServiceTypeClusterIP, 0)
	return workers
}

// The real controller creates the load balancers of Ingresses, with the settings and permissions that the program gives
// it.
func TestIngresses(t *testing.T) {
	w := newWorld(t)
	certificate := w.Certificate("argocd.example.com")
	second := w.Create("aws:ec2/securityGroup:SecurityGroup", "second", map[string]any{"vpcId": w.VPC, "name": "second"})
	groups, err := w.Account.Groups()
	require.NoError(t, err)
	workers := w.populate()
	settings := func(change ...string) map[string]string { return w.settings(certificate, change...) }

	argocd := w.ingress("argocd", "/", "argocd", settings())
	w.waitForAddress(argocd)
	assert.Equal(t, []string{"group.ingress.k8s.aws/eco2-dev"}, argocd.Finalizers)
	w.waitForBalancer(func(aws.LoadBalancer) bool { return len(w.groups()) == 1 && len(w.groups()[0].Targets) == 2 }, "targets")
	made := w.balancers()[0]
	assert.Equal(t, made.DNSName, argocd.Status.LoadBalancer.Ingress[0].Hostname)
	assert.Regexp(t, `^k8s-eco2dev-[0-9a-f]{10}$`, made.Name)
	assert.Equal(t, "internet-facing", made.Scheme)
	assert.Equal(t, []string{w.Group}, made.SecurityGroupIDs, "the one security group")
	assert.Len(t, made.SubnetIDs, 2, "one subnet in each zone")
	assert.Equal(t, []string{certificate}, made.Certificates())
	assert.Equal(t, map[string]string{
		"elbv2.k8s.aws/cluster": awsapitest.Cluster, "ingress.k8s.aws/stack": "eco2-dev", "ingress.k8s.aws/resource": "LoadBalancer",
	}, made.Tags)
	target := w.groups()[0]
	assert.Equal(t, awsapitest.Cluster, target.Tags["elbv2.k8s.aws/cluster"])
	assert.Equal(t, []any{"HTTP", 30443, "/healthz", "200"}, []any{target.Protocol, target.Port, target.HealthCheck.Path, target.HealthCheck.Codes})
	var instances []string
	for _, t := range target.Targets {
		instances = append(instances, t.InstanceID)
	}
	assert.ElementsMatch(t, w.Instances, instances)
	require.Len(t, made.Listeners, 2)
	plain, secure := listener(t, made, 80), listener(t, made, 443)
	redirect := plain.Default[0].RedirectConfig
	require.NotNil(t, redirect)
	assert.Equal(t, []any{"HTTPS", "443", elb.RedirectActionStatusCodeEnumHttp301}, []any{*redirect.Protocol, *redirect.Port, redirect.StatusCode})
	assert.Equal(t, []string{"HTTPS", policy}, []string{secure.Protocol, secure.SSLPolicy})
	assert.Equal(t, "404", *secure.Default[0].FixedResponseConfig.StatusCode)
	assert.Equal(t, []string{"argocd.example.com /* -> argocd"}, w.routes(secure))
	for _, tags := range []map[string]string{plain.Tags, secure.Tags, secure.Rules[0].Tags} {
		assert.Equal(t, awsapitest.Cluster, tags["elbv2.k8s.aws/cluster"])
	}
	w.waitForEvent(argocd, "SuccessfullyReconciled", "")

	t.Run("a group shares a load balancer, and a security group that one Ingress sets applies to all", func(t *testing.T) {
		api := w.ingress("api", "/v1/", "api", settings("security-groups", "", "healthcheck-path", "/health", "ssl-redirect", ""))
		w.waitForAddress(api)
		both := w.waitForBalancer(func(b aws.LoadBalancer) bool { return len(listener(t, b, 443).Rules) == 2 }, "both hosts")
		assert.Equal(t, made.ARN, both.ARN)
		assert.Equal(t, []string{"api.example.com /v1,/v1/* -> api", "argocd.example.com /* -> argocd"}, w.routes(listener(t, both, 443)))
		assert.Len(t, w.groups(), 2)

		w.deleteAndWait(api)
		assert.Equal(t, []string{"argocd.example.com /* -> argocd"}, w.routes(listener(t, w.balancers()[0], 443)))
		w.eventually(func() bool { return len(w.groups()) == 1 }, "the delete of its target group")
	})
	t.Run("it moves to the subnets that an Ingress names, and stays there when none does", func(t *testing.T) {
		name := func(subnets ...string) {
			t.Helper()
			w.annotate(argocd, "subnets", strings.Join(subnets, ","))
		}
		in := func(subnets ...string) {
			t.Helper()
			w.waitForBalancer(func(b aws.LoadBalancer) bool {
				return slices.Equal(slices.Sorted(slices.Values(b.SubnetIDs)), slices.Sorted(slices.Values(subnets)))
			}, "its subnets")
		}
		other := []string{w.Subnets[1], w.Subnets[0]} // zone a has two, of which one was found
		if slices.Contains(made.SubnetIDs, w.Subnets[0]) {
			other[1] = w.Subnets[2]
		}
		name(other...)
		in(other...)
		differing := w.ingress("differing", "/", "api", settings("subnets", strings.Join(made.SubnetIDs, ",")))
		w.waitForEvent(differing, "FailedBuildModel", "conflicting subnets")
		in(other...)
		w.deleteAndWait(differing)
		deployed := func() int { return strings.Count(w.output.String(), "successfully deployed model") }
		before := deployed()
		name()
		w.eventually(func() bool { return deployed() > before }, "a reconcile without the annotation")
		in(other...)
	})
	t.Run("settings change in place", func(t *testing.T) {
		w.annotate(argocd, "healthcheck-path", "/ready")
		w.eventually(func() bool { return w.groups()[0].HealthCheck.Path == "/ready" }, "the health check")
		w.annotate(argocd, "listen-ports", `[{"HTTPS":443}]`)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return len(b.Listeners) == 1 }, "the delete of a listener")
		w.annotate(argocd, "listen-ports", `[{"HTTP":80},{"HTTPS":443}]`)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return len(b.Listeners) == 2 }, "the new listener")
		further := w.Certificate("api.example.com")
		w.annotate(argocd, "certificate-arn", certificate+","+further)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return slices.Contains(b.Certificates(), further) }, "the second certificate")
		w.annotate(argocd, "certificate-arn", certificate)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return !slices.Contains(b.Certificates(), further) }, "the removal of the certificate")
		w.annotate(argocd, "security-groups", second)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return slices.Equal(b.SecurityGroupIDs, []string{second}) }, "another security group")
		w.annotate(argocd, "security-groups", w.Group)
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return slices.Equal(b.SecurityGroupIDs, []string{w.Group}) }, "the one security group")
		w.annotate(argocd, "ssl-policy", "ELBSecurityPolicy-TLS13-1-2-2021-06")
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return listener(t, b, 443).SSLPolicy != policy }, "another security policy")
		w.annotate(argocd, "ssl-policy", "")
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return listener(t, b, 443).SSLPolicy == policy }, "the chart's security policy")
		w.annotate(argocd, "tags", "Team=a")
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return b.Tags["Team"] == "a" }, "its tag")
		w.annotate(argocd, "tags", "")
		w.waitForBalancer(func(b aws.LoadBalancer) bool { return b.Tags["Team"] == "" }, "the removal of the tag")
	})
	t.Run("nodes that are not ready are not targets", func(t *testing.T) {
		ready := func(status corev1.ConditionStatus, targets int) {
			workers[0].Status.Conditions[0].Status = status
			require.NoError(t, w.cluster.Status().Update(t.Context(), workers[0]))
			w.eventually(func() bool { return len(w.groups()[0].Targets) == targets }, "targets")
		}
		ready(corev1.ConditionUnknown, 1)
		ready(corev1.ConditionTrue, 2)
	})
	t.Run("an Ingress without a group, and one of another controller", func(t *testing.T) {
		alone := w.ingress("alone", "/", "api", settings("group.name", ""))
		w.waitForAddress(alone)
		assert.Equal(t, []string{"ingress.k8s.aws/resources"}, alone.Finalizers)
		assert.Len(t, w.balancers(), 2)
		other := "other"
		w.create(&networkingv1.IngressClass{ObjectMeta: meta("other"), Spec: networkingv1.IngressClassSpec{Controller: "example.com/other"}})
		w.eventually(func() bool {
			w.refresh(alone)
			alone.Spec.IngressClassName = &other
			return w.cluster.Update(t.Context(), alone) == nil
		}, "the change of its class")
		w.eventually(func() bool { w.refresh(alone); return len(alone.Finalizers) == 0 && len(w.balancers()) == 1 }, "its release")
		w.deleteAndWait(alone)
	})
	w.deleteAndWait(argocd)
	assert.Empty(t, w.balancers())
	assert.Empty(t, w.groups())
	after, err := w.Account.Groups()
	require.NoError(t, err)
	assert.Equal(t, groups, after, "no security group was created or changed")
	w.nothingDenied()

	unused, err := w.API.UnusedActions(w.Role, "load-balancers")
	require.NoError(t, err)
	t.Logf("actions that the program allows the controller and that it did not use:\n%s", strings.Join(unused, "\n"))
}

// The program's two Ingresses and one of a workload: Argo CD has a listener of its own, and the listeners of the web
// redirect to it.
func TestArgoCDHasItsOwnListener(t *testing.T) {
	w := newWorld(t)
	certificate := w.Certificate("argocd.example.com")
	w.Certificate("api.example.com")
	w.populate()
	web := w.ingressTo(networkingv1.IngressServiceBackend{Name: "to-argocd", Port: networkingv1.ServiceBackendPort{Name: "use-annotation"}},
		"web", "argocd", "/", w.settings(certificate, "actions.to-argocd", `{"type":"redirect","redirectConfig":{"port":"8443","statusCode":"HTTP_302"}}`))
	argocd := w.ingress("argocd", "/", "argocd", w.settings(certificate, "listen-ports", `[{"HTTPS":8443}]`, "ssl-redirect", ""))
	// The workload knows neither the certificate nor the security group.
	api := w.ingress("api", "/", "api", w.settings("", "security-groups", ""))
	for _, ingress := range []*networkingv1.Ingress{web, argocd, api} {
		w.waitForAddress(ingress)
	}
	made := w.waitForBalancer(func(b aws.LoadBalancer) bool { return len(b.Listeners) == 3 && len(listener(t, b, 443).Rules) == 2 }, "three listeners")
	assert.Empty(t, listener(t, made, 80).Rules)
	assert.Equal(t, "443", *listener(t, made, 80).Default[0].RedirectConfig.Port)
	assert.ElementsMatch(t, []string{"argocd.example.com /* -> port 8443", "api.example.com /* -> api"}, w.routes(listener(t, made, 443)))
	assert.Equal(t, []string{"argocd.example.com /* -> argocd"}, w.routes(listener(t, made, 8443)))
	assert.Equal(t, elb.RedirectActionStatusCodeEnumHttp302, redirectOf(t, listener(t, made, 443)).StatusCode)
	assert.Equal(t, []string{policy, policy}, []string{listener(t, made, 443).SSLPolicy, listener(t, made, 8443).SSLPolicy})
	assert.Equal(t, []string{certificate}, listener(t, made, 8443).CertificateARNs)
	assert.Contains(t, listener(t, made, 443).CertificateARNs, certificate)

	// Without any workload the listeners stay.
	w.deleteAndWait(api)
	assert.Len(t, w.balancers()[0].Listeners, 3)
	w.deleteAndWait(argocd)
	w.deleteAndWait(web)
	assert.Empty(t, w.balancers())
	w.nothingDenied()
}

// redirectOf returns the redirect of a listener's only rule that has one.
func redirectOf(t *testing.T, l aws.Listener) *elb.RedirectActionConfig {
	t.Helper()
	for _, r := range l.Rules {
		if r.Actions[0].RedirectConfig != nil {
			return r.Actions[0].RedirectConfig
		}
	}
	require.Fail(t, "no rule redirects")
	return nil
}

// The controller reports invalid Ingresses in an event.
func TestInvalidIngresses(t *testing.T) {
	w := newWorld(t)
	certificate := w.Certificate("argocd.example.com")
	w.populate()
	for name, test := range map[string]struct {
		service, reason, note string
		change                []string
	}{
		"without-port":     {"inner", "FailedBuildModel", "TargetGroup port is empty", nil},
		"with-a-wrong-arn": {"api", "FailedDeployModel", "CertificateNotFound", []string{"certificate-arn", "arn:x"}},
		"redirected":       {"api", "FailedBuildModel", "listener does not exist for SSLRedirect port: 8443", []string{"ssl-redirect", "8443"}},
		"in-no-subnet":     {"api", "FailedBuildModel", "couldn't auto-discover subnets: unable to resolve at least one subnet", []string{"scheme", "internal"}},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := w.ingress(name, "/", test.service, w.settings(certificate, append(test.change, "group.name", name)...))
			w.waitForEvent(wrong, test.reason, test.note)
			w.deleteAndWait(wrong)
			assert.Empty(t, w.balancers())
		})
	}
	t.Run("without a Service clients get an error", func(t *testing.T) {
		none := w.ingress("without-service", "/", "none", w.settings(certificate, "group.name", "none"))
		w.waitForAddress(none)
		answer := listener(t, w.balancers()[0], 443).Rules[0].Actions[0].FixedResponseConfig
		require.NotNil(t, answer)
		assert.Equal(t, []string{"503", "Backend service does not exist"}, []string{*answer.StatusCode, *answer.MessageBody})
		assert.Empty(t, w.groups())
		w.deleteAndWait(none)
	})
	w.nothingDenied()
	t.Run("without a security group", func(t *testing.T) {
		wrong := w.ingress("without-group", "/", "api", w.settings(certificate, "security-groups", "", "group.name", "stray"))
		w.waitForEvent(wrong, "FailedDeployModel", "is not authorized to perform: ec2:CreateSecurityGroup")
		assert.Empty(t, w.balancers())
		assert.NotEmpty(t, w.API.Denied())
		for _, denied := range w.API.Denied() {
			assert.Contains(t, denied, "ec2:CreateSecurityGroup")
		}
		w.deleteAndWait(wrong)
	})
}

// The controller retries when AWS throttles it, or rejects a delete for a long time.
func TestControllerRetries(t *testing.T) {
	w := newWorld(t)
	certificate := w.Certificate("argocd.example.com")
	w.populate()
	for _, action := range []string{"CreateLoadBalancer", "DescribeSubnets", "RegisterTargets"} {
		w.API.FailNext(action, "", 2)
	}
	argocd := w.ingress("argocd", "/", "argocd", w.settings(certificate))
	w.waitForAddress(argocd)
	w.eventually(func() bool { return len(w.groups()) == 1 && len(w.groups()[0].Targets) == 2 }, "targets")
	for _, action := range []string{"CreateLoadBalancer", "DescribeSubnets", "RegisterTargets"} {
		assert.Zero(t, w.API.FailuresLeft(action), action)
	}

	// The Ingress, which the sweep waits for, exists as long as its load balancer.
	const many = 1000
	w.API.FailNext("DeleteLoadBalancer", "OperationNotPermitted", many)
	require.NoError(t, w.cluster.Delete(t.Context(), argocd))
	w.eventually(func() bool { return w.API.FailuresLeft("DeleteLoadBalancer") <= many-3 }, "three attempts")
	assert.True(t, w.refresh(argocd))
	assert.Len(t, w.balancers(), 1)
	w.API.FailNext("DeleteLoadBalancer", "", 0)
	w.eventually(func() bool { return !w.refresh(argocd) }, "the delete of the Ingress")
	assert.Empty(t, w.balancers())
	assert.Empty(t, w.groups())
	w.nothingDenied()
}

// If the controller will not run again, somebody has to do its work by hand, as described in docs/operations.md. Its
// webhook blocks that until it is deleted.
func TestDeadController(t *testing.T) {
	w := newWorld(t)
	w.populate()
	argocd := w.ingress("argocd", "/", "argocd", w.settings(w.Certificate("argocd.example.com")))
	w.waitForAddress(argocd)
	w.stop()
	require.NoError(t, w.cluster.Delete(t.Context(), argocd))
	removeFinalizers := func() error {
		return w.cluster.Patch(t.Context(), argocd, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
	}
	assert.ErrorContains(t, removeFinalizers(), `failed calling webhook "vingress.elbv2.k8s.aws"`)
	for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
		configuration := &metav1.PartialObjectMetadata{ObjectMeta: meta("aws-load-balancer-webhook")}
		configuration.SetGroupVersionKind(admissionv1.SchemeGroupVersion.WithKind(kind))
		require.NoError(t, w.cluster.Delete(t.Context(), configuration))
	}
	require.NoError(t, removeFinalizers())
	assert.False(t, w.refresh(argocd))

	bindings := &unstructured.UnstructuredList{}
	bindings.SetAPIVersion("elbv2.k8s.aws/v1beta1")
	bindings.SetKind("TargetGroupBindingList")
	require.NoError(t, w.cluster.List(t.Context(), bindings))
	require.Len(t, bindings.Items, 1, "they remain, and block the delete of their namespace")
	binding := &bindings.Items[0]
	require.NoError(t, w.cluster.Patch(t.Context(), binding, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	require.NoError(t, w.cluster.Delete(t.Context(), binding))
}
