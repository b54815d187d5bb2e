package policy_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/calico/policy"
)

// network is that of the pods of the node under test.
var network = netip.MustParsePrefix("192.168.0.0/24")

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelMetadataName: name},
	}}
}

// pod has the label app, and a port called http.
func pod(namespace, name, address string, http int32) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Status:     corev1.PodStatus{PodIP: address},
	}
	if http != 0 {
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: http}}}}
	}
	return p
}

// cluster has two pods of namespace web and one of data on the node under test, and one of data elsewhere.
// The last is on the network of another node.
func cluster() policy.Cluster {
	host := pod("web", "agent", "10.0.0.2", 0)
	host.Spec.HostNetwork = true
	return policy.Cluster{
		Namespaces: []*corev1.Namespace{namespace("web"), namespace("data")},
		Pods: []*corev1.Pod{
			pod("web", "front", "192.168.0.10", 8080), pod("web", "back", "192.168.0.11", 8080),
			pod("data", "cache", "192.168.0.12", 9090), pod("data", "db", "192.168.1.5", 9090), host,
		},
	}
}

// with adds a policy to namespace web; its specification is YAML.
func with(t *testing.T, c policy.Cluster, spec string) policy.Cluster {
	t.Helper()
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "p"}}
	require.NoError(t, yaml.UnmarshalStrict([]byte(spec), &p.Spec))
	c.Policies = append(slices.Clone(c.Policies), p)
	return c
}

func compiled(t *testing.T, c policy.Cluster) policy.Ruleset {
	t.Helper()
	rules, err := c.Compile(network)
	require.NoError(t, err)
	return rules
}

func addresses(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestPodsWithTheSamePoliciesShareAGuard(t *testing.T) {
	rules := compiled(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Ingress]}`))
	assert.Equal(t, []policy.Guard{
		{Pods: addresses("192.168.0.10", "192.168.0.11"), Isolated: true},
		{Pods: addresses("192.168.0.12")},
	}, rules.Ingress, "of this node's pods alone")
	assert.Equal(t, []policy.Guard{{Pods: addresses("192.168.0.10", "192.168.0.11", "192.168.0.12")}}, rules.Egress)
}

func TestDirectionsThatAreLeftOut(t *testing.T) {
	isolated := func(spec string) (ingress, egress bool) {
		rules := compiled(t, with(t, cluster(), spec))
		return rules.Ingress[0].Isolated, rules.Egress[0].Isolated
	}
	for spec, want := range map[string][2]bool{
		`{podSelector: {}}`:                                      {true, false},
		`{podSelector: {}, egress: [{}]}`:                        {true, true},
		`{podSelector: {}, policyTypes: [Egress]}`:               {false, true},
		`{podSelector: {}, ingress: [], policyTypes: [Ingress]}`: {true, false},
	} {
		ingress, egress := isolated(spec)
		assert.Equal(t, want, [2]bool{ingress, egress}, spec)
	}
}

// What a rule becomes, of egress of the pod front.
func TestOpenings(t *testing.T) {
	all := addresses("192.168.0.10", "192.168.0.11", "192.168.0.12", "192.168.1.5")
	for name, test := range map[string]struct {
		rule string
		want []policy.Opening
	}{
		"everything":               {`{}`, []policy.Opening{{}}},
		"pods of the namespace":    {`{to: [{podSelector: {}}]}`, []policy.Opening{{Peer: policy.Peer{Pods: all[:2]}}}},
		"pods of another":          {`{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]}`, []policy.Opening{{Peer: policy.Peer{Pods: all[2:]}}}},
		"pods of all namespaces":   {`{to: [{namespaceSelector: {}}]}`, []policy.Opening{{Peer: policy.Peer{Pods: all}}}},
		"both selectors":           {`{to: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: app, operator: In, values: [back, db]}]}}]}`, []policy.Opening{{Peer: policy.Peer{Pods: []netip.Addr{all[1], all[3]}}}}},
		"nobody who is there":      {`{to: [{podSelector: {matchLabels: {app: db}}}]}`, nil},
		"a pod of a node's":        {`{to: [{podSelector: {matchLabels: {app: agent}}}]}`, nil},
		"a block":                  {`{to: [{ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}}]}`, []policy.Opening{{Peer: policy.Peer{Block: netip.MustParsePrefix("10.0.0.0/8"), Except: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}}},
		"a block of IPv6":          {`{to: [{ipBlock: {cidr: "fd00::/8"}}]}`, nil},
		"a port, of TCP":           {`{ports: [{port: 80}]}`, []policy.Opening{{Port: policy.Port{Protocol: 6, First: 80, Last: 80}}}},
		"ports":                    {`{ports: [{port: 80, endPort: 90, protocol: UDP}]}`, []policy.Opening{{Port: policy.Port{Protocol: 17, First: 80, Last: 90}}}},
		"a protocol":               {`{ports: [{protocol: SCTP}]}`, []policy.Opening{{Port: policy.Port{Protocol: 132}}}},
		"a name":                   {`{ports: [{port: http}]}`, []policy.Opening{{Port: policy.Port{Protocol: 6, Named: endpoints("192.168.0.10:8080", "192.168.0.11:8080", "192.168.0.12:9090", "192.168.1.5:9090")}}}},
		"a name that nobody has":   {`{ports: [{port: https}]}`, nil},
		"a name of other protocol": {`{ports: [{port: http, protocol: UDP}]}`, nil},
		"each peer at each port": {`{to: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {matchLabels: {app: back}}}], ports: [{port: 1}, {port: 2}]}`, []policy.Opening{
			{Peer: policy.Peer{Block: netip.MustParsePrefix("10.0.0.0/8")}, Port: policy.Port{Protocol: 6, First: 1, Last: 1}},
			{Peer: policy.Peer{Block: netip.MustParsePrefix("10.0.0.0/8")}, Port: policy.Port{Protocol: 6, First: 2, Last: 2}},
			{Peer: policy.Peer{Pods: all[1:2]}, Port: policy.Port{Protocol: 6, First: 1, Last: 1}},
			{Peer: policy.Peer{Pods: all[1:2]}, Port: policy.Port{Protocol: 6, First: 2, Last: 2}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range test.want {
				test.want[i].Policy = "web/p"
			}
			rules := compiled(t, with(t, cluster(), `{podSelector: {matchLabels: {app: front}}, policyTypes: [Egress], egress: [`+test.rule+`]}`))
			assert.Equal(t, policy.Guard{Pods: addresses("192.168.0.10"), Isolated: true, Open: test.want}, rules.Egress[0])
		})
	}
}

func endpoints(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// Inwards a name is the port of the pods that the policy is for.
func TestANameInwardsIsThePodsOwn(t *testing.T) {
	rules := compiled(t, with(t, cluster(), `{podSelector: {matchLabels: {app: front}}, ingress: [{ports: [{port: http}]}]}`))
	assert.Equal(t, []policy.Opening{{Policy: "web/p", Port: policy.Port{Protocol: 6, Named: endpoints("192.168.0.10:8080")}}}, rules.Ingress[0].Open)
}

func TestPoliciesAddUp(t *testing.T) {
	c := with(t, cluster(), `{podSelector: {}, ingress: [{ports: [{port: 1}]}]}`)
	c = with(t, c, `{podSelector: {}, ingress: [{ports: [{port: 2}]}]}`)
	c.Policies[0].Name = "q"
	want := []policy.Opening{
		{Policy: "web/p", Port: policy.Port{Protocol: 6, First: 2, Last: 2}},
		{Policy: "web/q", Port: policy.Port{Protocol: 6, First: 1, Last: 1}},
	}
	assert.Equal(t, want, compiled(t, c).Ingress[0].Open)
	slices.Reverse(c.Policies)
	slices.Reverse(c.Pods)
	assert.Equal(t, want, compiled(t, c).Ingress[0].Open, "in any order")
}

// The API server lets none of these through; if one comes all the same, the rest holds.
func TestWhatIsNotUnderstoodOpensNothing(t *testing.T) {
	c := with(t, cluster(), `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: ten}}, {podSelector: {matchExpressions: [{key: app, operator: Maybe}]}}]},
		{ports: [{protocol: SMTP}, {port: 80}]}]}`)
	rules, err := c.Compile(network)
	assert.EqualError(t, err, `NetworkPolicy web/p: netip.ParsePrefix("ten"): no '/'`+"\n"+
		`NetworkPolicy web/p: "Maybe" is not a valid label selector operator`+"\n"+
		`NetworkPolicy web/p: unknown protocol "SMTP"`)
	assert.Equal(t, []policy.Opening{{Policy: "web/p", Port: policy.Port{Protocol: 6, First: 80, Last: 80}}}, rules.Ingress[0].Open)
}
