package rehearse

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/needs"
	"eco2/rehearsal/plugin"
	"eco2/rehearsal/toolchain"
)

// All of the program with Pulumi's own plugins for machines and for Kubernetes, and its language host. A bare cluster has
// nothing that the one for Kubernetes makes.
func TestOfficialPlugins(t *testing.T) {
	official, err := toolchain.FindOfficial(t.Context())
	needs.Official(t, err)
	c := newCluster(t)
	c.Tools, err = tools.With(official)
	require.NoError(t, err)
	// What follows a failure would fail for that, slowly.
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}
	// nothingChanges is also asked of the machines and the cluster, which the plugins may see otherwise than they left them.
	nothingChanges := func(t *testing.T) {
		t.Helper()
		assert.Empty(t, c.Steps())
		c.Must(c.Up("--expect-no-changes"))
		c.Must(c.Pulumi("preview", "--refresh", "--expect-no-changes"))
	}

	run("all of the program comes up from nothing, and of the stand-ins only AWS is called", func(t *testing.T) {
		started := time.Now()
		// First the machines alone. What an update leaves out must not be unknown in a provider's state: the next would fail.
		c.Must(c.Up("--exclude", "**::init-k8s-master", "--exclude-dependents"))
		c.Must(c.Up())
		t.Logf("up took %.0f s", time.Since(started).Seconds())
		c.connect()
		c.awaitReady(14, time.Minute)
		calls, err := plugin.ReadTrace(c.Dir)
		require.NoError(t, err)
		require.NotEmpty(t, calls)
		for _, call := range calls {
			require.Equal(t, aws.Name, call.Provider, call.URN)
		}
	})

	run("nothing changes, and a refresh finds nothing", nothingChanges)

	run("the stand-ins go on with what it made, and it with what they made of that", func(t *testing.T) {
		c.Tools = tools
		c.Must(c.Up())
		assert.Empty(t, c.Steps())
		c.Tools, err = tools.With(official)
		require.NoError(t, err)
		c.Must(c.Up())
		nothingChanges(t)
		c.awaitReady(14, time.Minute)
	})

	run("destroy leaves nothing", func(t *testing.T) {
		started := time.Now()
		c.Must(c.Destroy())
		t.Logf("destroy took %.1f s", time.Since(started).Seconds())
		assert.Empty(t, c.Inventory())
		c.nothingIsLeft()
	})
}
