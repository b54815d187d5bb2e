package releases

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"eco2/rehearsal/supply/charts/chartstest"
)

// rendered returns the objects that the chart renders with a stack's values.
func rendered(t *testing.T, stack string) []*unstructured.Unstructured {
	t.Helper()
	c, release := upstream(t, loadBalancer, stack)
	for key := range release.Values {
		assert.Contains(t, c.Values, key, "the chart does not support this value that the program sets")
	}
	return chartstest.Objects(t, []*chart.Chart{c}, release)
}

// one returns the only object of a kind.
func one[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) (found T) {
	t.Helper()
	count := 0
	for _, o := range objects {
		if o.GetKind() == kind {
			count++
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &found))
		}
	}
	require.Equal(t, 1, count, kind)
	return found
}

// The chart renders the program's values, and passes them to the binary as arguments.
func TestChart(t *testing.T) {
	for stack, replicas := range map[string]int32{"dev": 1, "prod": 2} {
		objects := rendered(t, stack)
		deployment := one[appsv1.Deployment](t, objects, "Deployment")
		pod := deployment.Spec.Template.Spec
		assert.Equal(t, replicas, *deployment.Spec.Replicas)
		require.Len(t, pod.Containers, 1)
		assert.Equal(t, loadBalancer.image, pod.Containers[0].Image)
		assert.Equal(t, map[string]string{"node-role.kubernetes.io/control-plane": ""}, pod.NodeSelector)
		assert.Len(t, pod.Tolerations, 2)
		assert.Equal(t, "256Mi", pod.Containers[0].Resources.Limits.Memory().String())
		assert.ElementsMatch(t, []string{
			"--cluster-name=eco2-" + stack, "--ingress-class=alb", "--aws-region=ap-northeast-2", "--aws-vpc-id=network-id",
			"--enable-shield=false", "--enable-waf=false", "--enable-wafv2=false",
			"--default-ssl-policy=ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", "--enable-backend-security-group=false",
			"--feature-gates=EnableServiceController=false",
		}, pod.Containers[0].Args)

		// The controller's webhooks are not called for any Service, nor for pods outside of namespaces with its label.
		mutating := one[admissionv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration")
		for _, webhook := range mutating.Webhooks {
			for _, rule := range webhook.Rules {
				assert.NotContains(t, rule.Resources, "services", webhook.Name)
			}
			selected := webhook.NamespaceSelector != nil && len(webhook.NamespaceSelector.MatchExpressions) > 0
			assert.True(t, selected || strings.Contains(webhook.Name, "targetgroupbinding"), webhook.Name)
		}
		validating := one[admissionv1.ValidatingWebhookConfiguration](t, objects, "ValidatingWebhookConfiguration")
		assert.NotEmpty(t, validating.Webhooks)
	}
}
