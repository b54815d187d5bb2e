package machines

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// autoscales checks that metrics are collected over TLS connections whose certificates are verified, and that an
// autoscaler scales a workload by them.
func (c *cluster) autoscales(t *testing.T) {
	t.Helper()
	assert.Empty(t, c.kubectl("get", "apiservice", "v1beta1.metrics.k8s.io", "--output=jsonpath={.spec.insecureSkipTLSVerify}"))
	assert.NotContains(t, c.kubectl("--namespace=kube-system", "get", "deployment", "metrics-server", "--output=jsonpath={..args}"), "insecure")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		out, err := c.try("", "top", "nodes", "--no-headers")
		assert.NoError(t, err)
		assert.Len(t, strings.Split(strings.TrimSpace(out), "\n"), len(c.machines()))
		assert.NotContains(t, out, "unknown")
	}, 2*time.Minute, time.Second)

	manifest := readFile(t, "testdata/autoscaled.yaml")
	_, err := c.try(manifest, "apply", "--filename=-")
	require.NoError(t, err)
	type autoscaler struct {
		Status struct {
			CurrentReplicas, DesiredReplicas int
			Conditions                       []struct{ Type, Status, Reason string }
		}
	}
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		all, err := list[autoscaler](c, "horizontalpodautoscalers", "--namespace=default")
		require.NoError(t, err)
		require.Len(t, all, 1)
		assert.Equal(t, []int{2, 2}, []int{all[0].Status.CurrentReplicas, all[0].Status.DesiredReplicas})
		conditions := map[string]string{}
		for _, one := range all[0].Status.Conditions {
			conditions[one.Type] = one.Status + " " + one.Reason
		}
		assert.Equal(t, "True ValidMetricFound", conditions["ScalingActive"])
	}, 4*time.Minute, time.Second)
	_, err = c.try(manifest, "delete", "--wait=false", "--filename=-")
	require.NoError(t, err)
}
