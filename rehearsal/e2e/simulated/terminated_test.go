package simulated

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/e2e/world"
)

// When AWS has terminated a machine, a refresh removes it from the state, so the engine does not replace it but creates
// a new one. It deletes the old membership, which would remove the node, only when the new machine has joined.
func TestAMachineThatAWSTookAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Options.Config["platform"] = false
	w.Must(w.Up())
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}
	// succeeded checks that the node has another machine, and that all others are as they were.
	succeeded := func(t *testing.T, before map[string]model.Node, node string) {
		t.Helper()
		after := members(t, w)
		require.Contains(t, after, node)
		successor := machine(t, w, node)
		assert.Equal(t, "aws:///"+successor.AvailabilityZone+"/"+successor.ID, after[node].ProviderID)
		assert.NotEqual(t, before[node].ProviderID, after[node].ProviderID)
		delete(before, node)
		delete(after, node)
		assert.Equal(t, before, after)
		assert.Empty(t, w.Steps())
		w.Changes()
		w.Must(w.Up())
		assert.Empty(t, w.Changes())
		assert.Len(t, members(t, w), 14)
	}

	run("the new machine joins, and stays", func(t *testing.T) {
		before := members(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Changes()
		w.Must(w.Up("--refresh"))
		w.InOrder(w.Changes(), "Delete command:remote:Command member-k8s-redis", "Create command:remote:Command member-k8s-redis")
		succeeded(t, before, "k8s-redis")
	})

	run("the same with the state of an older program, whose commands did not name the machine", func(t *testing.T) {
		before := members(t, w)
		forgetMachines(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Must(w.Pulumi("refresh", "--yes", "--skip-preview"))
		w.Must(w.Up())
		succeeded(t, before, "k8s-redis")
	})

	run("a node that is removed together with its machine leaves nothing", func(t *testing.T) {
		before := members(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Options.Config["nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 0}}
		w.Must(w.Up("--refresh"))
		delete(before, "k8s-redis")
		assert.Equal(t, before, members(t, w))
		assert.Empty(t, w.Steps())
	})
}

// When AWS has terminated the control plane's machine, the objects in the cluster cannot be refreshed, so docs/operations.md
// refreshes all but them. A new machine brings up the same cluster.
func TestAControlPlaneThatAWSTookAway(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	before := members(t, w)
	terminate(t, w, machine(t, w, "k8s-master"))
	printed, err := w.Up("--refresh")
	require.Error(t, err)
	assert.Contains(t, printed, "configured Kubernetes cluster is unreachable")

	w.Must(w.Pulumi("refresh", "--yes", "--skip-preview", "--exclude", "**kubernetes:**"))
	w.Changes()
	w.Must(w.Up())
	for _, change := range w.Changes() {
		assert.NotContains(t, change, "kubernetes:")
		assert.NotContains(t, change, "Delete command:remote:Command member-", "no worker leaves")
	}
	after := members(t, w)
	assert.NotEqual(t, before["k8s-master"].ProviderID, after["k8s-master"].ProviderID)
	delete(before, "k8s-master")
	delete(after, "k8s-master")
	assert.Equal(t, before, after)
	assert.Empty(t, w.Steps())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// forgetMachines removes the machines' ids from the workers' delete commands in the state.
func forgetMachines(t *testing.T, w *world.World) {
	t.Helper()
	exported := exportState(t, w)
	flag, changed := regexp.MustCompile(` --provider-id \S+`), 0
	for _, resource := range exported["deployment"].(map[string]any)["resources"].([]any) {
		r := resource.(map[string]any)
		if !strings.Contains(r["urn"].(string), "::member-") {
			continue
		}
		changed++
		for _, properties := range []string{"inputs", "outputs"} {
			p := r[properties].(map[string]any)
			p["delete"] = flag.ReplaceAllString(p["delete"].(string), "")
		}
	}
	require.Equal(t, 13, changed)
	data, err := json.Marshal(exported)
	require.NoError(t, err)
	importState(t, w, string(data))
}
