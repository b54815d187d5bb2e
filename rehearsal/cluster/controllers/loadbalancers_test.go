package controllers

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/fault"
)

// world is a modelled cluster on instances with the program's role.
type world struct {
	*awsapitest.World
	cluster *model.Cluster
	*Controllers
	certificate string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: awsapitest.New(t, "../../..")}
	w.certificate = w.Certificate("example.com")
	var err error
	w.cluster, err = model.Open(w.Dir).New("1.36.5")
	require.NoError(t, err)
	for i, zone := range []string{"a", "b"} {
		name := map[bool]string{true: "k8s-master", false: "k8s-redis"}[i == 0]
		require.NoError(t, w.cluster.Register(model.Node{Name: name, ProviderID: "aws:///" + awsapitest.Region + zone + "/" + w.Instances[i], ControlPlane: i == 0}))
	}
	w.Controllers = New(w.cluster, w.Dir, 0)
	w.apply(provider.Manifest{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"namespace": "kube-system", "name": "aws-load-balancer-controller"}, "spec": map[string]any{"replicas": 1}})
	return w
}

func (w *world) apply(m provider.Manifest) {
	w.Helper()
	_, err := w.cluster.Apply(context.Background(), m, provider.ApplyOptions{Manager: "test", Force: true})
	require.NoError(w, err)
	require.NoError(w, w.Settle())
}

// ingress applies an Ingress of Argo CD with annotations and changes to them; an empty value removes one.
func (w *world) ingress(change map[string]string) provider.Ref {
	w.Helper()
	return w.ingressTo("argocd", map[string]any{"name": "argocd-server", "port": map[string]any{"number": 80}}, change)
}

// ingressTo applies such an Ingress of a backend.
func (w *world) ingressTo(name string, backend map[string]any, change map[string]string) provider.Ref {
	w.Helper()
	annotations := map[string]any{}
	for key, value := range map[string]string{
		"scheme": "internet-facing", "target-type": "instance", "group.name": "eco2-dev", "listen-ports": `[{"HTTP":80},{"HTTPS":443}]`,
		"ssl-redirect": "443", "certificate-arn": w.certificate, "security-groups": w.Group,
	} {
		annotations["alb.ingress.kubernetes.io/"+key] = value
	}
	for key, value := range change {
		annotations["alb.ingress.kubernetes.io/"+key] = value
		if value == "" {
			delete(annotations, "alb.ingress.kubernetes.io/"+key)
		}
	}
	m := provider.Manifest{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
		"metadata": map[string]any{"namespace": "default", "name": name, "annotations": annotations},
		"spec": map[string]any{"ingressClassName": "alb", "rules": []any{map[string]any{"host": "argocd.example.com", "http": map[string]any{
			"paths": []any{map[string]any{"path": "/", "pathType": "Prefix", "backend": map[string]any{"service": backend}}}}}}}}
	w.apply(m)
	return m.Ref()
}

func (w *world) balancers() []aws.LoadBalancer {
	w.Helper()
	all, err := w.Account.LoadBalancers()
	require.NoError(w, err)
	return all
}

// withoutOrder removes the default Order that the API adds to actions.
func withoutOrder(actions []types.Action) []types.Action {
	for i := range actions {
		actions[i].Order = nil
	}
	return actions
}

// The model creates for an Ingress what the real controller creates, with the same permissions.
func TestModelCreatesLoadBalancers(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Held, Times: 1}))
	ref := w.ingress(nil)
	made := w.balancers()
	require.Len(t, made, 1)
	b := made[0]
	assert.Len(t, b.SubnetIDs, 2, "one subnet in each zone, not both of the first zone")
	assert.Contains(t, b.SubnetIDs, w.Subnets[1])
	assert.Equal(t, awsapitest.Cluster, b.Tags["elbv2.k8s.aws/cluster"])
	require.Len(t, b.Listeners, 2)
	assert.Equal(t, aws.RedirectTo(443), withoutOrder(b.Listeners[0].Default))
	assert.Contains(t, b.Listeners[1].Rules[0].Conditions, aws.HostCondition("argocd.example.com"))
	live, err := w.cluster.Get(t.Context(), ref)
	require.NoError(t, err)
	assert.Equal(t, b.DNSName, hostname(model.Object{Live: live}))

	w.ingress(map[string]string{"subnets": w.Subnets[1] + ", " + w.Subnets[2]})
	assert.ElementsMatch(t, []string{w.Subnets[1], w.Subnets[2]}, w.balancers()[0].SubnetIDs)
	assert.Equal(t, b.ARN, w.balancers()[0].ARN)

	groups, err := w.Account.TargetGroups()
	require.NoError(t, err)
	assert.Len(t, groups, 1)
	require.NoError(t, w.cluster.Delete(t.Context(), ref))
	require.NoError(t, w.Settle())
	assert.Empty(t, w.balancers())
	groups, err = w.Account.TargetGroups()
	require.NoError(t, err)
	assert.Empty(t, groups)
}

// The program's two Ingresses: one with a listener of its own, and one that redirects to it.
func TestModelCreatesRedirects(t *testing.T) {
	w := newWorld(t)
	action := map[string]any{"name": "to-argocd", "port": map[string]any{"name": "use-annotation"}}
	w.ingress(map[string]string{"listen-ports": `[{"HTTPS":8443}]`, "ssl-redirect": ""})
	w.ingressTo("web", action, map[string]string{"actions.to-argocd": `{"type":"redirect","redirectConfig":{"port":"8443","statusCode":"HTTP_302"}}`})
	listeners := w.balancers()[0].Listeners
	require.Len(t, listeners, 3)
	rules := map[int][]aws.ListenerRule{}
	for _, l := range listeners {
		rules[l.Port] = l.Rules
	}
	assert.Empty(t, rules[80], "HTTP is redirected as a whole")
	require.Len(t, rules[443], 1)
	assert.Equal(t, "8443", *rules[443][0].Actions[0].RedirectConfig.Port)
	require.Len(t, rules[8443], 1)
	assert.Equal(t, types.ActionTypeEnumForward, rules[8443][0].Actions[0].Type)
	require.NoError(t, w.Settle())
	assert.Equal(t, listeners, w.balancers()[0].Listeners, "nothing is created again")
}

func TestModelRejectsWhatTheControllerRejects(t *testing.T) {
	for name, test := range map[string]struct {
		change  map[string]string
		revoke  bool
		message string
	}{
		"an unsupported action":             {map[string]string{"actions.a": `{"type":"fixed-response"}`}, false, "the model of the controller supports only actions that redirect to a port"},
		"an unsupported annotation":         {map[string]string{"wafv2-acl-arn": "arn:x"}, false, "alb.ingress.kubernetes.io/wafv2-acl-arn: the model of the controller does not support it"},
		"a subnet by its name":              {map[string]string{"subnets": "public-a"}, false, `"public-a" is not the ID of a subnet`},
		"one subnet":                        {map[string]string{"subnets": "subnet-0"}, false, "SubnetNotFound"},
		"no subnet with the tag":            {map[string]string{"scheme": "internal"}, false, "couldn't auto-discover subnets"},
		"a certificate that does not exist": {map[string]string{"certificate-arn": "arn:x"}, false, "CertificateNotFound"},
		"no security group":                 {map[string]string{"security-groups": ""}, false, "is not authorized to perform: ec2:CreateSecurityGroup"},
		"a role without the policy":         {nil, true, "is not authorized to perform: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.revoke {
				w.Revoke("load-balancers")
			}
			w.ingress(test.change)
			for _, b := range w.balancers() { // AWS creates it before it rejects a listener
				assert.Equal(t, "a certificate that does not exist", name)
				assert.Len(t, b.Listeners, 1)
			}
			event, err := w.cluster.Get(t.Context(), provider.Ref{APIVersion: "v1", Kind: "Event", Namespace: "default", Name: "argocd.aws-load-balancer-controller"})
			require.NoError(t, err)
			assert.Contains(t, event["message"], test.message)
		})
	}
}
