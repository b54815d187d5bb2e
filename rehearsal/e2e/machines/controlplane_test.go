package machines

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outage asks the API server every half second whether it is ready, until stop is called, which returns how long it was
// not, and the longest time without an answer.
func (c *cluster) outage(t *testing.T) (stop func() (total, longest time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var total, longest, current time.Duration
	go func() {
		defer close(done)
		for last := time.Now(); ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
			_, err := c.try("", "get", "--raw=/readyz", "--request-timeout=2s")
			passed := time.Since(last)
			last = time.Now()
			if err == nil {
				current = 0
				continue
			}
			total, current = total+passed, current+passed
			longest = max(longest, current)
		}
	}()
	return func() (time.Duration, time.Duration) {
		cancel()
		<-done
		return total, longest
	}
}

// replaceControlPlane replaces the control plane's machine. The cluster is on a volume, so it must be the same one
// afterwards: its objects, its workers and the pods on them.
func (c *cluster) replaceControlPlane(t *testing.T, replace func()) {
	nodes, probes := c.awaitReady(clusterNodes, time.Minute), c.probes()
	c.kubectl("create", "configmap", "kept", "--from-literal=when=before")
	volumes := c.stateVolumes(t)
	stop := c.outage(t)
	started := time.Now()
	replace()
	total, longest := stop()
	t.Logf("the update took %.0f s; the API did not answer for %.0f s of them, at most %.0f s at a time", time.Since(started).Seconds(), total.Seconds(), longest.Seconds())

	after := c.awaitReady(clusterNodes, 3*time.Minute)
	assert.NotEqual(t, nodes["k8s-master"].Spec.ProviderID, after["k8s-master"].Spec.ProviderID)
	assert.Contains(t, after["k8s-master"].Spec.ProviderID, c.machines()["k8s-master"].InstanceID)
	assert.Equal(t, nodes["k8s-master"].Metadata.Labels, after["k8s-master"].Metadata.Labels)
	assert.ElementsMatch(t, nodes["k8s-master"].taints(), after["k8s-master"].taints())
	assert.Equal(t, volumes, c.stateVolumes(t), "the volume must be the same one")
	assert.Equal(t, "before", c.kubectl("get", "configmap", "kept", "--output=jsonpath={.data.when}"))
	c.kubectl("delete", "configmap", "kept")
	delete(nodes, "k8s-master")
	delete(probes, "k8s-master")
	for name, before := range nodes {
		assert.Equal(t, before.Metadata.UID, after[name].Metadata.UID, "%s registered again", name)
	}
	probesNow := c.probes()
	for name, before := range probes {
		assert.Equal(t, before.Metadata.UID, probesNow[name].Metadata.UID, "the pod on %s", name)
		for i, container := range probesNow[name].Status.ContainerStatuses {
			assert.Equal(t, before.Status.ContainerStatuses[i].RestartCount, container.RestartCount, name)
		}
	}
	c.awaitProbes()
	c.awaitReachable()
	assert.Empty(t, c.Steps())
	c.Changes()
}

// stateVolumes returns the ids of the program's attached volumes.
func (c *cluster) stateVolumes(t *testing.T) (ids []string) {
	t.Helper()
	resources, err := c.Open().Resources(t.Context())
	require.NoError(t, err)
	for _, r := range resources {
		if id, ok := r.Inputs["volumeId"].(string); ok {
			ids = append(ids, id)
		}
	}
	require.Len(t, ids, 1)
	return ids
}
