package rehearse

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
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"eco2/rehearsal/machines"
)

// way is what somebody may want to go: a pod, as namespace/name, to a target as cmd/probe reads it.
type way struct{ from, target string }

// ways of a namespace are those that its policy opens, and some that it does not.
type ways struct{ open, closed []way }

// The policy's own name, in every namespace.
const baseline = "baseline"

// alike is the workloads' namespace that is looked at; the others have the same policy.
const alike = "auth"

// policies shows of the platform's NetworkPolicies that what they open is open, that each of their rules is what
// opens it, and that the rest is closed. A policy that was changed for it is as it was afterwards.
func (c *cluster) policies(t *testing.T) {
	found := c.baselines(t)
	pods := c.policyProbes(t)
	tested := c.waysOf(pods)
	for _, namespace := range slices.Sorted(maps.Keys(found)) {
		if _, ok := tested[namespace]; !ok {
			assert.Equal(t, found[alike].Spec, found[namespace].Spec, "%s is a workload's as %s is", namespace, alike)
		}
	}

	t.Run("without a policy everything is open", func(t *testing.T) {
		var all []way
		for _, namespace := range tested {
			for _, w := range namespace.closed {
				if policed := strings.HasPrefix(w.target, "tcp:192.168.") && !strings.Contains(w.target, pods["default/own"]); !policed {
					all = append(all, way{"default/own", w.target})
				}
			}
		}
		c.expect(t, ways{open: all})
	})
	// Prometheus comes into every namespace, so nothing else is tried while its own policy is changed.
	t.Run(monitoringNamespace, func(t *testing.T) { c.judge(t, found[monitoringNamespace], tested[monitoringNamespace]) })
	t.Run("side by side", func(t *testing.T) {
		for namespace, w := range tested {
			if namespace != monitoringNamespace {
				t.Run(namespace, func(t *testing.T) {
					t.Parallel()
					c.judge(t, found[namespace], w)
				})
			}
		}
	})
	t.Run("a pod's first packets are judged", func(t *testing.T) { c.firstPackets(t, tested[alike].closed) })
	t.Run("the metadata service is part of the internet but for the exception", func(t *testing.T) {
		policy := found[alike]
		wide := policy.without(func(*networkingv1.NetworkPolicySpec) {})
		for _, rule := range wide.Spec.Egress {
			for i := range rule.To {
				if rule.To[i].IPBlock != nil {
					rule.To[i].IPBlock.Except = nil
				}
			}
		}
		metadata := way{alike + "/own", "tcp:169.254.169.254:443"}
		c.expect(t, ways{closed: []way{metadata}})
		c.apply(t, wide)
		c.expect(t, ways{open: []way{metadata}})
		c.apply(t, policy)
		c.expect(t, ways{closed: []way{metadata}})
	})

	for namespace, after := range c.baselines(t) {
		assert.Equal(t, found[namespace].Spec, after.Spec, namespace)
		assert.Equal(t, found[namespace].owners(), after.owners(), "%s: who owns the fields", namespace)
	}
}

// firstPackets starts pods that send at once, and finds none of their packets through: a pod of a node whose Felix
// has not heard of it yet is closed.
func (c *cluster) firstPackets(t *testing.T, closed []way) {
	args := []string{"try"}
	for _, w := range closed {
		if w.from == alike+"/own" {
			args = append(args, w.target)
		}
	}
	require.Greater(t, len(args), 3)
	list, err := json.Marshal(args)
	require.NoError(t, err)
	job := os.Expand(readFile(t, "testdata/firstpackets.yaml"), func(key string) string {
		return map[string]string{"NAMESPACE": alike, "ARGS": string(list)}[key]
	})
	_, err = c.try(job, "apply", "--filename=-")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := c.try("", "delete", "job", "--namespace="+alike, "first-packets", "--wait=false")
		assert.NoError(t, err)
	})
	_, err = c.try("", "wait", "--for=condition=Complete", "--timeout=120s", "--namespace="+alike, "job/first-packets")
	require.NoError(t, err)
	out, err := c.try("", "logs", "--namespace="+alike, "--selector=job-name=first-packets", "--tail=-1", "--max-log-requests=20")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Len(t, lines, 20*(len(args)-1))
	for _, line := range lines {
		assert.True(t, strings.HasSuffix(line, " filtered"), line)
	}
}

const monitoringNamespace = "monitoring"

// waysOf are what the platform's policies are for, by namespace. Of the machines' ports nothing need listen at
// those: a refusal came through too.
func (c *cluster) waysOf(pods map[string]string) map[string]ways {
	api, apiService := "tcp:"+c.machines()["k8s-master"].PrivateIP+":6443", "tcp:10.96.0.1:443"
	nodes := "tcp:" + c.machines()["k8s-master"].PrivateIP + ":"
	internet, metadata := "tcp:"+machines.MirrorAddress+":", "tcp:169.254.169.254:"
	dns := []string{"dns:10.96.0.10:53", "tcp:10.96.0.10:53"}
	pod := func(name, port string) string { return "tcp:" + pods[name] + ":" + port }
	stranger := "default/own"

	list := func(namespace string, open, closed []string, in, shut []way) ways {
		w := ways{open: in, closed: shut}
		for _, target := range open {
			w.open = append(w.open, way{namespace + "/own", target})
		}
		for _, target := range closed {
			w.closed = append(w.closed, way{namespace + "/own", target})
		}
		return w
	}
	// Between the pods of a namespace, and from Prometheus.
	inside := func(namespace string) way { return way{namespace + "/peer", pod(namespace+"/own", "9999")} }
	scrape := func(namespace string) way { return way{monitoringNamespace + "/own", pod(namespace+"/own", "9999")} }
	strange := func(namespace, port string) way { return way{stranger, pod(namespace+"/own", port)} }

	return map[string]ways{
		"platform-system": list("platform-system",
			append(dns, api, apiService, pod("platform-system/peer", "9999"), internet+"443", metadata+"80"),
			[]string{internet + "80", metadata + "443", pod(stranger, "9999"), nodes + "10250"},
			[]way{inside("platform-system"), scrape("platform-system"), strange("platform-system", "10250")},
			[]way{strange("platform-system", "9999")}),
		"data-system": list("data-system",
			append(dns, api, apiService, pod(stranger, "6379"), pod(stranger, "26379")),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]way{scrape("data-system")},
			[]way{inside("data-system"), strange("data-system", "6379")}),
		"messaging-system": list("messaging-system",
			append(dns, api, apiService, pod(stranger, "15672"), pod(stranger, "15692")),
			[]string{internet + "443", metadata + "80", pod(stranger, "9999"), nodes + "10250"},
			[]way{scrape("messaging-system")},
			[]way{inside("messaging-system"), strange("messaging-system", "15672")}),
		monitoringNamespace: list(monitoringNamespace,
			append(dns, api, apiService, pod(stranger, "9999"), internet+"443", nodes+"9100", nodes+"10250"),
			[]string{internet + "80", metadata + "80", metadata + "443", nodes + "22"},
			[]way{inside(monitoringNamespace), strange(monitoringNamespace, "10250")},
			[]way{strange(monitoringNamespace, "9999")}),
		"argocd": list("argocd",
			append(dns, api, apiService, pod("argocd/peer", "9999"), internet+"443", internet+"22"),
			[]string{internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999")},
			[]way{inside("argocd"), scrape("argocd"), strange("argocd", "8080")},
			[]way{strange("argocd", "9999")}),
		alike: list(alike,
			append(dns, pod(alike+"/peer", "9999"), internet+"443"),
			[]string{api, internet + "80", metadata + "80", metadata + "443", pod(stranger, "9999"), pod("data-system/own", "9999")},
			[]way{inside(alike), scrape(alike)},
			[]way{strange(alike, "9999")}),
	}
}

// judge takes each rule of a policy away, and wants something closed by that. It looks twice: nodes take rules over one
// by one, and a packet may be late.
func (c *cluster) judge(t *testing.T, policy baselinePolicy, w ways) {
	c.expect(t, w)
	unexplained := slices.Clone(w.open)
	for _, rule := range policy.rules() {
		c.apply(t, policy.without(rule.remove))
		var before, closed []way
		assert.Eventually(t, func() bool {
			through, err := c.through(w.open)
			before, closed = closed, slices.DeleteFunc(slices.Clone(w.open), func(w way) bool { return through[w] })
			return err == nil && len(closed) > 0 && slices.Equal(before, closed)
		}, 40*time.Second, time.Second, "nothing is closed without the rule %s", rule.text)
		t.Logf("%s opens %s", rule.text, closed)
		unexplained = slices.DeleteFunc(unexplained, func(w way) bool { return slices.Contains(closed, w) })
		c.apply(t, policy)
		c.expect(t, ways{open: w.open})
	}
	assert.Empty(t, unexplained, "open, whichever rule is taken away")
	c.expect(t, w)
}

// expect waits until the kernel is as the policies say.
func (c *cluster) expect(t *testing.T, w ways) {
	t.Helper()
	assert.EventuallyWithT(t, func(check *assert.CollectT) {
		through, err := c.through(slices.Concat(w.open, w.closed))
		require.NoError(check, err)
		for _, way := range w.open {
			assert.True(check, through[way], "%s to %s is closed", way.from, way.target)
		}
		for _, way := range w.closed {
			assert.False(check, through[way], "%s to %s is open", way.from, way.target)
		}
	}, time.Minute, time.Second)
}

// through tries ways, from all pods at once, and says of each whether packets got there.
func (c *cluster) through(all []way) (map[way]bool, error) {
	targets := map[string][]string{}
	for _, w := range all {
		targets[w.from] = append(targets[w.from], w.target)
	}
	through := map[way]bool{}
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	for from, targets := range targets {
		group.Go(func() {
			namespace, name, _ := strings.Cut(from, "/")
			out, err := c.try("", append([]string{"exec", "--namespace=" + namespace, probePrefix + name, "--", "/probe", "try"}, targets...)...)
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(out) {
				target, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch {
				case strings.HasPrefix(answer, "error: "):
					err = fmt.Errorf("%s to %s: %s", from, target, answer)
				default:
					through[way{from, target}] = answer != "filtered"
				}
			}
			if err != nil {
				failed = err
			}
		})
	}
	group.Wait()
	return through, failed
}

// probePrefix keeps the probes apart from what the platform runs.
const probePrefix = "policy-probe-"

// policyProbes runs two pods in each namespace that is looked at, and returns their addresses.
func (c *cluster) policyProbes(t *testing.T) map[string]string {
	t.Helper()
	template := readFile(t, "testdata/policyprobe.yaml")
	addresses := map[string]string{}
	for _, namespace := range []string{"default", "platform-system", "data-system", "messaging-system", monitoringNamespace, "argocd", alike} {
		for _, name := range []string{"own", "peer"} {
			text := os.Expand(template, func(key string) string {
				return map[string]string{"NAMESPACE": namespace, "NAME": probePrefix + name}[key]
			})
			_, err := c.try(text, "apply", "--filename=-")
			require.NoError(t, err)
			addresses[namespace+"/"+name] = ""
		}
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
		_, err := c.try("", "wait", "--for=condition=Ready", "--timeout=120s", "--namespace="+namespace, "pod/"+probePrefix+name)
		require.NoError(t, err)
		address, err := c.try("", "get", "pod", "--namespace="+namespace, probePrefix+name, "--output=jsonpath={.status.podIP}")
		require.NoError(t, err)
		addresses[pod] = address
	}
	return addresses
}

// baselinePolicy is a policy as the cluster has it, as far as whoever applied it said.
type baselinePolicy struct {
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

// baselines are the platform's policies by namespace.
func (c *cluster) baselines(t *testing.T) map[string]baselinePolicy {
	t.Helper()
	out, err := c.try("", "get", "networkpolicies", "--all-namespaces", "--field-selector=metadata.name="+baseline,
		"--show-managed-fields", "--output=json")
	require.NoError(t, err)
	var list struct{ Items []baselinePolicy }
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	found := map[string]baselinePolicy{}
	for _, p := range list.Items {
		found[p.Metadata.Namespace] = p
	}
	return found
}

// owners are the managers of the policy's fields, and what each has.
func (p baselinePolicy) owners() map[string]string {
	owners := map[string]string{}
	for _, entry := range p.Metadata.ManagedFields {
		owners[fmt.Sprintf("%s %s", entry.Manager, entry.Operation)] = entry.FieldsV1.GetRawString()
	}
	return owners
}

// apply gives the policy its specification in its owner's name, who so goes on to own it alone.
func (c *cluster) apply(t *testing.T, p baselinePolicy) {
	t.Helper()
	owner := slices.IndexFunc(p.Metadata.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply
	})
	require.GreaterOrEqual(t, owner, 0, "nobody has applied the policy of %s on the server's side", p.Metadata.Namespace)
	manager := p.Metadata.ManagedFields[owner].Manager
	p.Metadata.ManagedFields = nil
	text, err := json.Marshal(p)
	require.NoError(t, err)
	_, err = c.try(string(text), "apply", "--server-side", "--field-manager="+manager, "--filename=-")
	require.NoError(t, err)
}

// rule is one of a policy.
type rule struct {
	text   string
	remove func(*networkingv1.NetworkPolicySpec)
}

func (p baselinePolicy) rules() (rules []rule) {
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

// without is a copy of the policy that was changed.
func (p baselinePolicy) without(change func(*networkingv1.NetworkPolicySpec)) baselinePolicy {
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
