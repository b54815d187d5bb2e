package main

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/infra"
)

// Some defaults of charts must be overridden. Each case says what would happen without the value.
func TestChartDefaultsAreOverridden(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		for _, test := range []struct {
			release, path string
			want          any
			without       string
		}{
			{"external-secrets", "rbac serviceAccountTokenCreate", false, "it may act as any service account"},
			{"rabbitmq-cluster-operator", "msgTopologyOperator networkPolicy enabled", false, "the chart creates its policy although the operator is disabled"},
			{"kube-prometheus-stack", "grafana resources limits memory", "1Gi", "Grafana 13 is killed: it uses 330 MiB when idle"},
			{"kube-prometheus-stack", "grafana grafana.ini server enable_gzip", false, "compression needs the memory of several responses"},
			{"kube-prometheus-stack", "grafana podAnnotations eco2.io/parameter-version", "1", "a new password does not restart Grafana"},
			{"metrics-server", "tls type", "helm", "the API server cannot verify it"},
			{"metrics-server", "apiService insecureSkipTLSVerify", false, "the API server accepts any certificate"},
		} {
			value := g.named(t, releaseType, test.release).Inputs["values"]
			for key := range strings.FieldsSeq(test.path) {
				require.True(t, value.IsObject(), "%s has no %s: %s", test.release, test.path, test.without)
				value = value.ObjectValue()[resource.PropertyKey(key)]
			}
			assert.Equal(t, test.want, value.Mappable(), "%s %s: %s", test.release, test.path, test.without)
		}
		balancer := g.named(t, releaseType, "aws-load-balancer-controller").Inputs["values"].ObjectValue()
		assert.Regexp(t, `^ELBSecurityPolicy-TLS13-1-[23]-`, balancer["defaultSSLPolicy"].StringValue(), "load balancers would allow TLS 1.0")
	})
}

// The secret store serves only the namespaces that need secrets, and no other that somebody creates.
func TestTheSecretStoreServesKnownNamespaces(t *testing.T) {
	forEachStack(t, func(t *testing.T, g *graph) {
		spec := g.named(t, "kubernetes:external-secrets.io/v1:ClusterSecretStore", "aws-ssm").Inputs["spec"].ObjectValue()
		conditions := spec["conditions"].ArrayValue()
		require.Len(t, conditions, 1, "they are alternatives")
		var namespaces []string
		for _, name := range conditions[0].ObjectValue()["namespaces"].ArrayValue() {
			namespaces = append(namespaces, name.StringValue())
		}
		assert.ElementsMatch(t, append(infra.Domains(), "monitoring", "postgres", "redis", "rabbitmq"), namespaces)
	})
}
