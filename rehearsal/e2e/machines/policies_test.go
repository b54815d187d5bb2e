package machines

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"eco2/rehearsal/internal/setup"
)

// connection is an attempt to connect: from a pod, as namespace/name, to a target in cmd/probe's format.
type connection struct{ from, target string }

// connections are the ones that a policy must allow, and some that it must deny.
type connections struct{ allowed, denied []connection }

// workloadPolicy and databasePolicy are those that are tested of the workloads' namespaces; the other APIs and databases
// have the same.
const (
	workloadNamespace = "auth"
	workloadPolicy    = workloadNamespace + "/" + baseline
	databaseNamespace = "postgres"
	databasePolicy    = databaseNamespace + "/" + baseline
)

// baseline is the name of the policy of every pod in a namespace.
const baseline = "baseline"

// dnsPolicy is the policy of CoreDNS.
const dnsPolicy = "kube-system/coredns"

// policies checks the platform's NetworkPolicies: that they allow what they should, that each of their rules is
// necessary for that, and that they deny all else. It restores the policies that it changes.
func (c *cluster) policies(t *testing.T) {
	pods := c.policyProbes(t)
	tested := c.expectedConnections(pods)
	found := c.platformPolicies(t)
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if _, ok := tested[key]; ok {
			continue
		}
		same := workloadPolicy
		if key == "redis/baseline" || key == "rabbitmq/baseline" {
			same = databasePolicy
		}
		assert.Equal(t, found[same].Spec, found[key].Spec, "%s must be the same policy as %s", key, same)
	}

	t.Run("without a policy everything is allowed", func(t *testing.T) {
		var all []connection
		for _, policy := range tested {
			for _, w := range policy.denied {
				policed := strings.HasPrefix(w.target, "tcp:192.168.") && !strings.Contains(w.target, pods["default/own"])
				denied := strings.HasPrefix(w.target, metadataService) // by Calico's policy, see deniesMetadata
				if w.from != "default/own" && !policed && !denied {
					all = append(all, connection{"default/own", w.target})
				}
			}
		}
		c.expect(t, connections{allowed: all})
	})
	// Prometheus connects to every namespace, and CoreDNS, to which the policy of kube-system applies, answers all of them.
	// So no other policy is tested while one of these is changed.
	var rest []string
	for _, key := range slices.Sorted(maps.Keys(tested)) {
		switch key {
		case dnsPolicy: // without one of its rules the whole cluster would resolve no names
			t.Run(key, func(t *testing.T) { c.expect(t, tested[key]) })
		case "kube-system/" + baseline, monitoringNamespace + "/prometheus":
			t.Run(key, func(t *testing.T) { c.checkRules(t, found[key], tested[key]) })
		default:
			rest = append(rest, key)
		}
	}
	t.Run("side by side", func(t *testing.T) {
		for _, key := range rest {
			t.Run(key, func(t *testing.T) {
				t.Parallel()
				c.checkRules(t, found[key], tested[key])
			})
		}
	})
	t.Run("a policy applies to a pod's first packets", func(t *testing.T) { c.firstPackets(t, tested[workloadPolicy].denied) })
	t.Run("the metadata service is denied to every pod but its callers, by Calico's policy and by the hop limit", c.deniesMetadata)
	t.Run("without the exceptions the rule for the internet would allow machines and pods", func(t *testing.T) {
		policy := found[workloadPolicy]
		wide := policy.changed(func(*networkingv1.NetworkPolicySpec) {})
		for _, rule := range wide.Spec.Egress {
			for i := range rule.To {
				if rule.To[i].IPBlock != nil {
					rule.To[i].IPBlock.Except = nil
				}
			}
		}
		var inside, metadata []connection
		for _, w := range tested[workloadPolicy].denied {
			switch {
			case w.from != workloadNamespace+"/own" || !strings.HasSuffix(w.target, ":443"):
			case strings.HasPrefix(w.target, metadataService):
				metadata = append(metadata, w)
			default:
				inside = append(inside, w)
			}
		}
		require.Len(t, inside, 2)
		require.Len(t, metadata, 1)
		c.expect(t, connections{denied: inside})
		c.apply(t, wide)
		c.expect(t, connections{allowed: inside, denied: metadata})
		c.apply(t, policy)
		c.expect(t, connections{denied: inside})
	})

	for key, after := range c.platformPolicies(t) {
		assert.Equal(t, found[key].Spec, after.Spec, key)
		assert.Equal(t, found[key].owners(), after.owners(), "%s: the owners of the fields", key)
	}
}

// firstPackets starts pods that send at once, and checks that none of their packets pass: all traffic of a pod is
// denied until its node's Felix knows it.
func (c *cluster) firstPackets(t *testing.T, denied []connection) {
	args := []string{"try"}
	for _, w := range denied {
		if w.from == workloadNamespace+"/own" {
			args = append(args, w.target)
		}
	}
	require.Greater(t, len(args), 3)
	list, err := json.Marshal(args)
	require.NoError(t, err)
	job := os.Expand(readFile(t, "testdata/firstpackets.yaml"), func(key string) string {
		return map[string]string{"NAMESPACE": workloadNamespace, "ARGS": string(list)}[key]
	})
	_, err = c.try(job, "apply", "--filename=-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := c.try("", "delete", "job", "--namespace="+workloadNamespace, "first-packets", "--wait=false")
		assert.NoError(t, err)
	})
	_, err = c.try("", "wait", "--for=condition=Complete", "--timeout=300s", "--namespace="+workloadNamespace, "job/first-packets")
	require.NoError(t, err)
	out, err := c.try("", "logs", "--namespace="+workloadNamespace, "--selector=job-name=first-packets", "--tail=-1", "--max-log-requests=10")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Len(t, lines, 10*(len(args)-1))
	for _, line := range lines {
		assert.True(t, strings.HasSuffix(line, " filtered"), line)
	}
}

// deniesMetadata checks that a pod which is none of the controllers that call AWS does not reach the metadata service,
// also where no NetworkPolicy denies it: in an undeclared namespace, and in platform-system, whose NetworkPolicy allows
// it. Without Calico's policy, a pod on the control plane does, and a pod on a worker still gets no token.
func (c *cluster) deniesMetadata(t *testing.T) {
	token := strings.Replace(metadataService, "tcp:", "token:", 1) + "80"
	undeclared, worker, platform := connection{"default/own", token}, connection{"default/peer", token}, connection{"platform-system/own", token}
	policy := func(action string) {
		_, err := c.try("", "patch", "globalnetworkpolicies.crd.projectcalico.org", "eco2.metadata-service", "--type=json",
			fmt.Sprintf(`--patch=[{"op": "replace", "path": "/spec/egress/0/action", "value": %q}]`, action))
		require.NoError(t, err)
	}
	t.Cleanup(func() { policy("Deny") })
	c.expect(t, connections{denied: []connection{undeclared, worker, platform}})
	policy("Pass")
	c.expect(t, connections{allowed: []connection{undeclared, platform}, denied: []connection{worker}})
	policy("Deny")
	c.expect(t, connections{
		allowed: []connection{{"platform-system/external-dns", token}, {"kube-system/aws-load-balancer-controller", token}},
		denied:  []connection{undeclared, worker, platform},
	})
}

// metadataService is the beginning of a target at the metadata service: its port follows.
const metadataService = "tcp:169.254.169.254:"

const monitoringNamespace = "monitoring"

// expectedConnections returns the connections that the platform's policies must allow and deny, by namespace and name.
// Nothing has to listen on the machines' ports among them: a refused connection has passed the policy too.
func (c *cluster) expectedConnections(pods map[string]string) map[string]connections {
	api, apiService := "tcp:"+c.machines()["k8s-master"].PrivateIP+":6443", "tcp:10.96.0.1:443"
	nodes := "tcp:" + c.machines()["k8s-master"].PrivateIP + ":"
	internet, metadata := "tcp:"+setup.MirrorAddress+":", metadataService
	dns := []string{"dns:10.96.0.10:53", "tcp:10.96.0.10:53"}
	pod := func(name, port string) string { return "tcp:" + pods[name] + ":" + port }
	stranger, prometheus := "default/own", monitoringNamespace+"/prometheus"

	// list adds connections from a pod to targets to the given connections to that pod.
	list := func(from string, allowedTargets, deniedTargets []string, allowedIn, deniedIn []connection) connections {
		w := connections{allowed: allowedIn, denied: deniedIn}
		for _, target := range allowedTargets {
			w.allowed = append(w.allowed, connection{from, target})
		}
		for _, target := range deniedTargets {
			w.denied = append(w.denied, connection{from, target})
		}
		return w
	}
	// all returns the connections of the policy of every pod in a namespace.
	all := func(namespace string, allowedTargets, deniedTargets []string, allowedIn, deniedIn []connection) connections {
		return list(namespace+"/own", allowedTargets, deniedTargets, allowedIn, deniedIn)
	}
	// From a pod of the same namespace, from Prometheus, from another pod of its namespace, and from a pod of a namespace
	// without a policy.
	inside := func(namespace string) connection {
		return connection{namespace + "/peer", pod(namespace+"/own", "9999")}
	}
	scrape := func(namespace string) connection { return connection{prometheus, pod(namespace+"/own", "9999")} }
	neighbour := func(namespace string) connection {
		return connection{monitoringNamespace + "/own", pod(namespace+"/own", "9999")}
	}
	fromStranger := func(to, port string) connection { return connection{stranger, pod(to, port)} }

	return map[string]connections{
		"kube-system/baseline": all("kube-system",
			append(dns, api, apiService),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]connection{scrape("kube-system")},
			[]connection{inside("kube-system"), neighbour("kube-system"), fromStranger("kube-system/own", "9443"), fromStranger("kube-system/own", "10250")}),
		dnsPolicy: {allowed: []connection{
			{stranger, "dns:10.96.0.10:53"}, {stranger, "tcp:10.96.0.10:53"}, {stranger, "outside:10.96.0.10:53"}, {prometheus, "tcp:10.96.0.10:9153"},
		}, denied: []connection{{stranger, "tcp:10.96.0.10:9153"}}},
		"kube-system/aws-load-balancer-controller": list("kube-system/aws-load-balancer-controller",
			[]string{internet + "443", metadata + "80"},
			[]string{internet + "80", metadata + "443", pod(stranger, "9999"), nodes + "10250"},
			[]connection{fromStranger("kube-system/aws-load-balancer-controller", "9443")},
			[]connection{fromStranger("kube-system/aws-load-balancer-controller", "9999")}),
		"kube-system/aws-ebs-csi-driver": list("kube-system/aws-ebs-csi-driver",
			[]string{internet + "443", metadata + "80"},
			[]string{internet + "80", metadata + "443", pod(stranger, "9999"), nodes + "10250"},
			nil,
			[]connection{fromStranger("kube-system/aws-ebs-csi-driver", "9443")}),
		"kube-system/metrics-server": list("kube-system/metrics-server",
			[]string{nodes + "10250"},
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "9100"},
			[]connection{fromStranger("kube-system/metrics-server", "10250")},
			[]connection{fromStranger("kube-system/metrics-server", "9999")}),
		"platform-system/baseline": all("platform-system",
			append(dns, api, apiService, pod("platform-system/peer", "9999"), internet+"443"),
			[]string{internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), nodes + "10250"},
			[]connection{
				inside("platform-system"), scrape("platform-system"), fromStranger("platform-system/own", "10250"),
				{"platform-system/external-dns", metadata + "80"},
			},
			[]connection{fromStranger("platform-system/own", "9999"), neighbour("platform-system")}),
		"data-system/baseline": all("data-system",
			append(dns, api, apiService, pod(stranger, "6379"), pod(stranger, "26379")),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]connection{scrape("data-system")},
			[]connection{inside("data-system"), fromStranger("data-system/own", "6379"), neighbour("data-system")}),
		"messaging-system/baseline": all("messaging-system",
			append(dns, api, apiService, pod(stranger, "15672"), pod(stranger, "15692")),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]connection{scrape("messaging-system")},
			[]connection{inside("messaging-system"), fromStranger("messaging-system/own", "15672"), neighbour("messaging-system")}),
		"monitoring/baseline": all(monitoringNamespace,
			append(dns, api, apiService, pod("monitoring/peer", "9999")),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "9100", nodes + "10250"},
			[]connection{inside(monitoringNamespace)},
			[]connection{fromStranger("monitoring/own", "9999"), fromStranger("monitoring/own", "10250")}),
		"monitoring/prometheus": list(prometheus,
			[]string{pod(stranger, "9999"), nodes + "9100", nodes + "10250"},
			[]string{internet + "443", metadata + "80", nodes + "22"},
			nil,
			[]connection{fromStranger(prometheus, "9999")}),
		"monitoring/grafana": list("monitoring/grafana",
			[]string{internet + "443"},
			[]string{internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), nodes + "443"},
			nil,
			[]connection{fromStranger("monitoring/grafana", "9999")}),
		"monitoring/alertmanager": list("monitoring/alertmanager",
			[]string{internet + "443"},
			[]string{internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), nodes + "443"},
			nil,
			[]connection{fromStranger("monitoring/alertmanager", "9999")}),
		"monitoring/operator": list("monitoring/operator",
			nil,
			[]string{internet + "443", pod(stranger, "9999")},
			[]connection{fromStranger("monitoring/operator", "10250")},
			[]connection{fromStranger("monitoring/operator", "9999")}),
		"argocd/baseline": all("argocd",
			append(dns, api, apiService, pod("argocd/peer", "9999"), internet+"443", internet+"22"),
			[]string{internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), pod(stranger, "443"), nodes + "22"},
			[]connection{inside("argocd"), scrape("argocd"), fromStranger("argocd/own", "8080")},
			[]connection{fromStranger("argocd/own", "9999"), neighbour("argocd")}),
		workloadPolicy: all(workloadNamespace,
			append(dns, pod(workloadNamespace+"/peer", "9999"), internet+"443"),
			[]string{
				api, internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), pod("data-system/own", "9999"),
				pod(stranger, "443"), nodes + "443",
			},
			[]connection{inside(workloadNamespace), scrape(workloadNamespace)},
			[]connection{fromStranger(workloadNamespace+"/own", "9999"), neighbour(workloadNamespace)}),
		databasePolicy: all(databaseNamespace,
			append(dns, pod(databaseNamespace+"/peer", "9999")),
			[]string{api, internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]connection{inside(databaseNamespace), scrape(databaseNamespace)},
			[]connection{fromStranger(databaseNamespace+"/own", "9999"), neighbour(databaseNamespace)}),
	}
}

// checkRules checks a policy, and then removes each of its rules in turn, which must make the policy deny something.
// The result must be the same twice, because nodes apply a change at different times, and a packet may be delayed.
func (c *cluster) checkRules(t *testing.T, policy platformPolicy, w connections) {
	c.expect(t, w)
	unexplained := slices.Clone(w.allowed)
	for _, rule := range policy.rules() {
		c.apply(t, policy.changed(rule.remove))
		var before, denied []connection
		assert.Eventually(t, func() bool {
			through, err := c.reached(w.allowed)
			before, denied = denied, slices.DeleteFunc(slices.Clone(w.allowed), func(w connection) bool { return through[w] })
			return err == nil && len(denied) > 0 && slices.Equal(before, denied)
		}, 40*time.Second, time.Second, "removing the rule %s denies nothing", rule.text)
		t.Logf("%s allows %s", rule.text, denied)
		unexplained = slices.DeleteFunc(unexplained, func(w connection) bool { return slices.Contains(denied, w) })
		c.apply(t, policy)
		c.expect(t, connections{allowed: w.allowed})
	}
	assert.Empty(t, unexplained, "allowed, whichever rule is removed")
}

// expect waits until the given connections are allowed and denied as expected.
func (c *cluster) expect(t *testing.T, w connections) {
	t.Helper()
	assert.EventuallyWithT(t, func(check *assert.CollectT) {
		through, err := c.reached(slices.Concat(w.allowed, w.denied))
		require.NoError(check, err)
		for _, conn := range w.allowed {
			assert.True(check, through[conn], "%s to %s is denied", conn.from, conn.target)
		}
		for _, conn := range w.denied {
			assert.False(check, through[conn], "%s to %s is allowed", conn.from, conn.target)
		}
	}, time.Minute, time.Second)
}

// reached tries connections, from all pods at once, and returns for each whether its packets passed.
func (c *cluster) reached(all []connection) (map[connection]bool, error) {
	targets := map[string][]string{}
	for _, w := range all {
		targets[w.from] = append(targets[w.from], w.target)
	}
	through := map[connection]bool{}
	var mu sync.Mutex
	var group errgroup.Group
	for from, targets := range targets {
		group.Go(func() error {
			answers, err := c.probers[from].try(c.t.Context(), targets)
			if err != nil {
				return fmt.Errorf("asking the probe in %s: %w", from, err)
			}
			mu.Lock()
			defer mu.Unlock()
			for target, answer := range answers {
				if strings.HasPrefix(answer, "error: ") {
					return fmt.Errorf("%s to %s: %s", from, target, answer)
				}
				through[connection{from, target}] = answer != "filtered"
			}
			return nil
		})
	}
	return through, group.Wait()
}

// probePrefix is the beginning of the probes' names, which tells them from the platform's pods.
const probePrefix = "policy-probe-"

// labelledProbes are the probes to which policies of single pods apply, with the label that the policy selects. None has
// all the labels that a Service or a controller selects.
var labelledProbes = map[string]string{
	"kube-system/aws-load-balancer-controller": "app.kubernetes.io/name: aws-load-balancer-controller",
	"kube-system/aws-ebs-csi-driver":           "app.kubernetes.io/name: aws-ebs-csi-driver",
	"kube-system/metrics-server":               "app.kubernetes.io/name: metrics-server",
	"platform-system/external-dns":             "app.kubernetes.io/name: external-dns",
	"monitoring/prometheus":                    "app.kubernetes.io/name: prometheus",
	"monitoring/grafana":                       "app.kubernetes.io/name: grafana",
	"monitoring/alertmanager":                  "app.kubernetes.io/name: alertmanager",
	"monitoring/operator":                      "app: kube-prometheus-stack-operator",
}

// policyProbes runs the labelled pods and two others in each tested namespace, and returns their addresses. Those of the
// namespaces whose pods need the role's credentials run on the control plane, like these pods; so does one of the
// namespace without policies, and the other on a worker.
func (c *cluster) policyProbes(t *testing.T) map[string]string {
	t.Helper()
	template := readFile(t, "testdata/policyprobe.yaml")
	probes := maps.Clone(labelledProbes)
	for _, namespace := range []string{
		"default", "kube-system", "platform-system", "data-system", "messaging-system", monitoringNamespace, "argocd", workloadNamespace, databaseNamespace,
	} {
		probes[namespace+"/own"], probes[namespace+"/peer"] = "", ""
	}
	addresses := map[string]string{}
	c.probers = map[string]prober{}
	for pod, label := range probes {
		namespace, name, _ := strings.Cut(pod, "/")
		selector := ""
		switch {
		case namespace == "kube-system" || namespace == "platform-system" || pod == "default/own":
			selector = `node-role.kubernetes.io/control-plane: ""`
		case pod == "default/peer":
			selector = "kubernetes.io/hostname: k8s-redis"
		}
		text := os.Expand(template, func(key string) string {
			return map[string]string{"NAMESPACE": namespace, "NAME": probePrefix + name, "LABEL": label, "NODE": selector}[key]
		})
		_, err := c.try(text, "apply", "--filename=-")
		require.NoError(t, err)
		addresses[pod] = ""
	}
	t.Cleanup(func() {
		for namespace := range addresses {
			namespace, name, _ := strings.Cut(namespace, "/")
			_, err := c.try("", "delete", "pod", "--namespace="+namespace, probePrefix+name, "--wait=false")
			assert.NoError(t, err)
		}
	})
	for pod := range addresses {
		namespace, name, _ := strings.Cut(pod, "/")
		_, err := c.try("", "wait", "--for=condition=Ready", "--timeout=300s", "--namespace="+namespace, "pod/"+probePrefix+name)
		require.NoError(t, err)
		out, err := c.try("", "get", "pod", "--namespace="+namespace, probePrefix+name, "--output=jsonpath={.status.podIP} {.spec.nodeName}")
		require.NoError(t, err)
		address, node, _ := strings.Cut(out, " ")
		addresses[pod], c.probers[pod] = address, c.newProber(t, node, address)
	}
	return addresses
}

// platformPolicy is a NetworkPolicy with the fields that its owner sets.
type platformPolicy struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Namespace     string                      `json:"namespace"`
		Name          string                      `json:"name"`
		Labels        map[string]string           `json:"labels,omitempty"`
		Annotations   map[string]string           `json:"annotations,omitempty"`
		ManagedFields []metav1.ManagedFieldsEntry `json:"managedFields,omitempty"`
	} `json:"metadata"`
	Spec networkingv1.NetworkPolicySpec `json:"spec"`
}

// platformPolicies returns the platform's policies by namespace and name. Other policies are those of Argo CD's manifest
// and of workloads.
func (c *cluster) platformPolicies(t *testing.T) map[string]platformPolicy {
	t.Helper()
	out, err := c.try("", "get", "networkpolicies", "--all-namespaces", "--show-managed-fields", "--output=json")
	require.NoError(t, err)
	var list struct{ Items []platformPolicy }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	found := map[string]platformPolicy{}
	for _, p := range list.Items {
		namespace, name := p.Metadata.Namespace, p.Metadata.Name
		if name == baseline || namespace == "kube-system" || namespace == monitoringNamespace {
			found[namespace+"/"+name] = p
		}
	}
	return found
}

// owners returns the managers of the policy's fields, with the fields that each one owns.
func (p platformPolicy) owners() map[string]string {
	owners := map[string]string{}
	for _, entry := range p.Metadata.ManagedFields {
		owners[fmt.Sprintf("%s %s", entry.Manager, entry.Operation)] = entry.FieldsV1.GetRawString()
	}
	return owners
}

// apply applies the policy's specification as its owner's field manager, which therefore remains the only owner.
func (c *cluster) apply(t *testing.T, p platformPolicy) {
	t.Helper()
	owner := slices.IndexFunc(p.Metadata.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply
	})
	require.GreaterOrEqual(t, owner, 0, "the policy of %s was not applied server-side", p.Metadata.Namespace)
	manager := p.Metadata.ManagedFields[owner].Manager
	p.Metadata.ManagedFields = nil
	text, err := json.Marshal(p)
	require.NoError(t, err)
	_, err = c.try(string(text), "apply", "--server-side", "--field-manager="+manager, "--filename=-")
	require.NoError(t, err)
}

// rule is one rule of a policy.
type rule struct {
	// text describes the rule.
	text   string
	remove func(*networkingv1.NetworkPolicySpec)
}

func (p platformPolicy) rules() (rules []rule) {
	for i, r := range p.Spec.Egress {
		rules = append(rules, rule{"egress " + described(r.To, r.Ports), func(s *networkingv1.NetworkPolicySpec) {
			s.Egress = slices.Delete(s.Egress, i, i+1)
		}})
	}
	for i, r := range p.Spec.Ingress {
		rules = append(rules, rule{"ingress " + described(r.From, r.Ports), func(s *networkingv1.NetworkPolicySpec) {
			s.Ingress = slices.Delete(s.Ingress, i, i+1)
		}})
	}
	return rules
}

// changed returns a copy of the policy with a change of its specification.
func (p platformPolicy) changed(change func(*networkingv1.NetworkPolicySpec)) platformPolicy {
	p.Spec = *p.Spec.DeepCopy()
	change(&p.Spec)
	return p
}

func described(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) string {
	var texts []string
	for _, peer := range peers {
		switch {
		case peer.IPBlock != nil:
			texts = append(texts, peer.IPBlock.CIDR)
		default:
			for what, selector := range map[string]*metav1.LabelSelector{"namespaces": peer.NamespaceSelector, "pods": peer.PodSelector} {
				switch {
				case selector == nil:
				case len(selector.MatchLabels)+len(selector.MatchExpressions) == 0:
					texts = append(texts, "all "+what)
				default:
					texts = append(texts, what+" "+metav1.FormatLabelSelector(selector))
				}
			}
		}
	}
	if len(texts) == 0 {
		texts = []string{"anybody"}
	}
	slices.Sort(texts)
	var numbers []string
	for _, port := range ports {
		var number intstr.IntOrString
		if port.Port != nil {
			number = *port.Port
		}
		numbers = append(numbers, number.String())
	}
	if len(numbers) == 0 {
		numbers = []string{"every port"}
	}
	return strings.Join(texts, ", ") + " at " + strings.Join(numbers, ", ")
}
