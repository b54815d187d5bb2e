package machines

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/needs"
)

// The whole program, platform included, with Pulumi's own language host and plugins for command and Kubernetes. A bare
// cluster would not do: it has no resource of the Kubernetes plugin.
func TestOfficialPlugins(t *testing.T) {
	official, err := toolchain.FindOfficial(t.Context())
	needs.Official(t, err)
	c := newCluster(t)
	c.Tools, err = tools.With(official)
	require.NoError(t, err)
	// After a failure the following steps would fail too, and slowly.
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}
	// nothingChanges also refreshes, because what a plugin reads from the machines and the cluster may differ from what
	// it wrote to the state.
	nothingChanges := func(t *testing.T) {
		t.Helper()
		assert.Empty(t, c.Steps())
		c.Must(c.Up("--expect-no-changes"))
		c.Must(c.Pulumi("preview", "--refresh", "--expect-no-changes"))
	}

	run("the whole program comes up from nothing, and of the stand-ins only AWS is called", func(t *testing.T) {
		started := time.Now()
		// First the machines only. A provider's state must not contain unknown values of excluded resources, or the
		// next update fails.
		c.Must(c.Up("--exclude", "**::init-k8s-master", "--exclude-dependents"))
		c.Must(c.Up())
		t.Logf("up took %.0f s", time.Since(started).Seconds())
		c.connect()
		c.awaitReady(14, time.Minute)
		calls, err := plugin.ReadTrace(c.Dir)
		require.NoError(t, err)
		require.NotEmpty(t, calls)
		for _, call := range calls {
			require.Equal(t, provider.Name, call.Provider, call.URN)
		}
	})

	run("nothing changes, and a refresh finds nothing", nothingChanges)

	run("stand-ins and Pulumi's plugins each accept the state that the others wrote", func(t *testing.T) {
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
