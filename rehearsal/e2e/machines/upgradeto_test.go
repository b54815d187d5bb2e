package machines

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"eco2/config"
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
	c.Options.Config["backup"] = map[string]any{"everyHours": 24}
	c.Must(c.Up())
	c.connect()
	c.awaitReady(clusterNodes, time.Minute)
	c.installProbes()
	c.upgradeTo(t, config.DefaultVersions, to, func() {
		c.Options.Config["versions"] = map[string]any{
			"kubernetes": to.Kubernetes, "containerd": to.Containerd, "calico": mirror.CalicoRelease, "untested": true,
		}
	})
}
