package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/infra"
)

const policyType = "kubernetes:networking.k8s.io/v1:NetworkPolicy"

// networkPolicy is a NetworkPolicy as far as the tests read it.
type networkPolicy struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		PodSelector     labelSelector
		Ingress, Egress []trafficRule
	}
}

type trafficRule struct {
	From, To []peer
	Ports    []struct {
		Protocol string
		Port     float64
	}
}

type peer struct {
	IPBlock *struct {
		CIDR   string
		Except []string
	} `json:"ipBlock"`
	NamespaceSelector, PodSelector *labelSelector
}

type labelSelector struct{ MatchLabels map[string]string }

// networkPolicies returns the declared policies by the resources' names.
func networkPolicies(t *testing.T, g *graph) map[string]networkPolicy {
	t.Helper()
	policies := map[string]networkPolicy{}
	for _, r := range g.every(t, policyType) {
		text, err := json.Marshal(r.Inputs.MapRepl(nil, plainMap))
		require.NoError(t, err)
		var p networkPolicy
		require.NoError(t, json.Unmarshal(text, &p))
		policies[r.Name] = p
	}
	return policies
}

// A rule for the internet must not allow machines, pods or Services, or the metadata service with the nodes' credentials.
// Only CoreDNS may use any name server.
func TestTheInternetIsOutsideTheCluster(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		vpc := settings(t, g.stack)["eco2:vpcCidr"]
		count := 0
		for name, policy := range networkPolicies(t, g) {
			for _, rule := range policy.Spec.Egress {
				for _, to := range rule.To {
					if to.IPBlock == nil || to.IPBlock.CIDR != "0.0.0.0/0" {
						continue
					}
					count++
					if name == "kube-system-coredns" {
						assert.Len(t, rule.Ports, 2)
						for _, port := range rule.Ports {
							assert.EqualValues(t, 53, port.Port)
						}
						continue
					}
					assert.ElementsMatch(t, []any{"169.254.169.254/32", vpc, "192.168.0.0/16", "10.96.0.0/12"}, anys(to.IPBlock.Except), name)
				}
			}
		}
		assert.Greater(t, count, 10)
	})
}

func anys(texts []string) (list []any) {
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}

func TestDatabasesReachNothingOutsideTheirNamespace(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		policies := networkPolicies(t, g)
		for _, name := range []string{"postgres", "redis", "rabbitmq"} {
			for _, rule := range policies[name].Spec.Egress {
				for _, to := range rule.To {
					assert.Nil(t, to.IPBlock, name)
					if to.NamespaceSelector != nil { // otherwise it is the same namespace
						require.NotNil(t, to.PodSelector)
						assert.Equal(t, map[string]string{"k8s-app": "kube-dns"}, to.PodSelector.MatchLabels)
					}
				}
			}
		}
		assert.NotEqual(t, policies["postgres"].Spec, policies["auth"].Spec)
	})
}

// Prometheus reaches every pod. Nothing else in its namespace does, and no other pod of its namespace reaches a pod
// elsewhere.
func TestOnlyPrometheusReachesEveryPod(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		admitted := 0
		for name, policy := range networkPolicies(t, g) {
			for _, rule := range policy.Spec.Egress {
				for _, to := range rule.To {
					everyPod := to.NamespaceSelector != nil && to.PodSelector == nil && len(rule.Ports) == 0
					assert.Equal(t, name == "monitoring-prometheus" && to.IPBlock == nil, everyPod, name)
				}
			}
			for _, rule := range policy.Spec.Ingress {
				for _, from := range rule.From {
					if from.NamespaceSelector == nil {
						continue
					}
					admitted++
					assert.Equal(t, map[string]string{"kubernetes.io/metadata.name": "monitoring"}, from.NamespaceSelector.MatchLabels, name)
					require.NotNil(t, from.PodSelector, name)
					assert.Equal(t, map[string]string{"app.kubernetes.io/name": "prometheus"}, from.PodSelector.MatchLabels, name)
				}
			}
		}
		assert.Equal(t, len(infra.Domains())+3+5, admitted, "every namespace but Prometheus' own")
		assert.Equal(t, map[string]string{"app.kubernetes.io/name": "prometheus"}, networkPolicies(t, g)["monitoring-prometheus"].Spec.PodSelector.MatchLabels)
	})
}

// CoreDNS must always answer everything in the cluster, so kube-system is closed only after its policy exists.
func TestKubeSystemIsClosedAfterWhatItNeeds(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		policies := networkPolicies(t, g)
		assert.Empty(t, policies["kube-system"].Spec.PodSelector.MatchLabels, "it applies to every pod")
		for name, policy := range policies {
			if policy.Metadata.Namespace == "kube-system" && name != "kube-system" {
				assert.True(t, g.dependsOn(g.named(t, policyType, "kube-system"), g.named(t, policyType, name)), name)
			}
		}
		dns := policies["kube-system-coredns"].Spec
		assert.Equal(t, map[string]string{"k8s-app": "kube-dns"}, dns.PodSelector.MatchLabels)
		assert.True(t, slices.ContainsFunc(dns.Ingress, func(r trafficRule) bool { return len(r.From) == 0 && len(r.Ports) == 2 }), "from everywhere")
	})
}
