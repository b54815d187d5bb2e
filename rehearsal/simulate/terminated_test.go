package simulate

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/kubernetes/model"
	"eco2/rehearsal/stacktest"
)

// AWS takes machines away, and the engine has then nothing to replace: it makes a successor, and deletes what the
// old machine's leave was when the successor has joined.
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

	run("its successor joins, and stays", func(t *testing.T) {
		before := members(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Changes()
		w.Must(w.Up("--refresh"))
		w.InOrder(w.Changes(), "Delete command:remote:Command member-k8s-redis", "Create command:remote:Command member-k8s-redis")
		succeeded(t, before, "k8s-redis")
	})

	run("also where the state is of a program that named no machine", func(t *testing.T) {
		before := members(t, w)
		forgetMachines(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Must(w.Pulumi("refresh", "--yes", "--skip-preview"))
		w.Must(w.Up())
		succeeded(t, before, "k8s-redis")
	})

	run("a node that goes with its machine leaves nothing", func(t *testing.T) {
		before := members(t, w)
		terminate(t, w, machine(t, w, "k8s-redis"))
		w.Options.Config["nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 0}}
		w.Must(w.Up("--refresh"))
		delete(before, "k8s-redis")
		assert.Equal(t, before, members(t, w))
		assert.Empty(t, w.Steps())
	})
}

// forgetMachines takes the machines out of the commands of all leaves in the state.
func forgetMachines(t *testing.T, w *stacktest.World) {
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
