package simulated

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/internal/fault"
)

// Kubernetes is upgraded by changing its version: the control plane first, then the nodes. A node that cannot be reached
// stops the roll, and the next update goes on from it. The control plane's certificates are renewed when they expire soon.
func TestUpgrades(t *testing.T) {
	t.Parallel()
	const remote = "command:remote:Command"
	w := newWorld(t, "prod", "")
	w.Must(w.Up())
	was, is := config.DefaultVersions.Kubernetes, config.DefaultVersions.Kubernetes+"0"
	commands := []string{"init-k8s-master", "upgrade-nodes"}
	for name := range members(t, w) {
		commands = append(commands, "prepare-"+name)
	}
	versions := func() map[string]int {
		count := map[string]int{}
		for _, node := range members(t, w) {
			count[node.Version]++
		}
		return count
	}
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}

	run("a version that kubeadm cannot upgrade to is refused in the preview", func(t *testing.T) {
		for version, says := range map[string]string{
			"1.35.9": "the cluster has Kubernetes " + was + " and cannot go back to 1.35.9",
		} {
			w.Options.Config["versions"] = map[string]any{"kubernetes": version}
			printed, err := w.Pulumi("preview")
			require.Error(t, err)
			assert.Contains(t, printed, says)
		}
	})

	run("the roll stops at a node that is unreachable", func(t *testing.T) {
		w.Options.Config["versions"] = map[string]any{"kubernetes": is}
		assert.ElementsMatch(t, append(each("update "+remote, commands...), "create aws:ebs/snapshot:Snapshot before-kubernetes-"+is), w.Steps())
		w.Changes()
		// prepare.sh has the patience to wait for the machine, and upgrade-nodes.sh has not.
		require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Refused, Name: "eco2-prod-k8s-redis", Seconds: 60, Times: 2}))
		printed, err := w.Up()
		require.Error(t, err, printed)
		assert.Contains(t, printed, "this update upgrades Kubernetes from "+was+" to "+is)
		assert.Contains(t, printed, "the next update goes on from here")
		assert.Equal(t, 2, len(versions()), "some nodes have the new version")
		assert.Equal(t, was, members(t, w)["k8s-redis"].Version)
		w.InOrder(w.Changes(), "Create aws:ebs/snapshot:Snapshot before-kubernetes-"+is, "Update "+remote+" init-k8s-master")
	})

	run("the next update goes on from there", func(t *testing.T) {
		w.Must(w.Up())
		assert.Equal(t, map[string]int{is: 14}, versions())
		info, err := w.Cluster().Info()
		require.NoError(t, err)
		assert.Equal(t, is, info.Version)
		assert.Empty(t, w.Steps())
	})

	run("certificates that expire soon are renewed, and the kubeconfig follows", func(t *testing.T) {
		before := w.Must(w.Pulumi("stack", "output", "--show-secrets", "kubeconfig"))
		soon := time.Now().AddDate(0, 0, 20).UTC()
		require.NoError(t, w.Cluster().SetCertificatesExpire(soon.Truncate(time.Second)))
		w.Must(w.Up("--replace", "**::admin-kubeconfig")) // the program learns when they expire from the kubeconfig
		w.Changes()
		printed := w.Must(w.Up())
		assert.Contains(t, printed, "this update renews the control plane's certificates and the kubeconfig, which expire on "+soon.Format(time.DateOnly))
		info, err := w.Cluster().Info()
		require.NoError(t, err)
		assert.WithinDuration(t, model.YearFromNow(), info.CertificatesExpire, time.Hour)
		assert.NotEqual(t, before, w.Must(w.Pulumi("stack", "output", "--show-secrets", "kubeconfig")))
		assert.Empty(t, w.Steps(), "once is enough")
	})
}
