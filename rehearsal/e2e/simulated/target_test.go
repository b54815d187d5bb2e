package simulated

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In an update of a part of the stack, a command that is left out has no output. The program must not take that for the
// command's result.
func TestUpdatesOfAPart(t *testing.T) {
	t.Parallel()
	// As `make bench-rehearsal` does: first everything up to where kubeadm can begin.
	for name, platform := range map[string]bool{"of a bare cluster": false, "with the platform": true} {
		t.Run("first the machines only, "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "dev", "")
			if !platform {
				w.Options.Config["platform"] = false
			}
			w.Must(w.Up("--exclude", "**::init-k8s-master", "--exclude-dependents"))
			assert.Contains(t, w.Must(w.Pulumi("stack", "output", "kubeconfig", "--show-secrets")), "https://not-made-yet.invalid:6443")
			w.Must(w.Up())
			assert.Contains(t, w.Must(w.Pulumi("stack", "output", "kubeconfig", "--show-secrets")), "client-key-data")
			assert.Empty(t, w.Steps())
			w.Must(w.Destroy())
			assert.Empty(t, w.Inventory())
		})
	}
	t.Run("with targets", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "dev", "")
		printed := w.Must(w.Up("--target", "**aws:**", "--target", "**eco2:**", "--target", "**::prepare-k8s-redis"))
		assert.Contains(t, printed, "prepared with Kubernetes")
		w.Must(w.Up())
		assert.Empty(t, w.Steps())

		// As docs/operations.md warns: the whole platform depends on each node, and so does the sweep.
		one := []string{"destroy", "--preview-only", "--target", "**Instance::k8s-redis"}
		printed, err := w.Pulumi(one...)
		require.Error(t, err)
		assert.Contains(t, printed, "sweep")
		assert.Regexp(t, `command:remote:Command sweep\s+delete`, w.Must(w.Pulumi(append(one, "--target-dependents")...)))
		w.Changes()
		w.Options.Config["nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 0}}
		w.Must(w.Up())
		assert.ElementsMatch(t, []string{
			"Delete command:remote:Command member-k8s-redis", "Delete aws:ec2/instance:Instance k8s-redis",
			"Update command:remote:Command upgrade-nodes", "Create command:remote:Command ready", "Delete command:remote:Command ready",
		}, w.Changes())

		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
	})
	t.Run("with a target whose machine does not exist, the engine reports what is missing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "dev", "")
		printed, err := w.Up("--target", "**::prepare-k8s-redis")
		require.Error(t, err)
		t.Log(printed)
		assert.NotContains(t, printed, "kubeconfig.sh")
	})
}
