package machines

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/supply/mirror"
)

// A cluster of the default versions is upgraded to the Kubernetes version that `make test-upgrade` names.
func TestUpgradeTo(t *testing.T) {
	to, err := mirror.UpgradeTo(needs.UpgradeTo(t))
	require.NoError(t, err)
	c := newCluster(t, to)
	c.Options.Config["platform"] = false
	c.Options.Config["nodes"] = without(otherNodes...)
	versions := map[string]any{"calico": "v3.31.0", "untested": true}
	c.Options.Config["versions"] = versions
	c.Must(c.Up())
	c.connect()
	c.awaitReady(clusterNodes, time.Minute)

	versions["kubernetes"], versions["containerd"] = to.Kubernetes, to.Containerd
	c.Must(c.Up())
	for name, node := range c.awaitReady(clusterNodes, 3*time.Minute) {
		assert.Equal(t, "v"+to.Kubernetes, node.Status.NodeInfo.KubeletVersion, name)
	}
	assert.Empty(t, c.Steps())
}
