package simulated

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// versions returns the versions of the cluster's control plane and of its nodes.
func (w *world) versions() (controlPlane string, nodes map[string]string) {
	w.Helper()
	running, err := w.hosts.Clusters()
	require.NoError(w, err)
	require.Len(w, running, 1)
	info, err := running[0].Cluster.Info()
	require.NoError(w, err)
	members, err := running[0].Cluster.Nodes()
	require.NoError(w, err)
	nodes = map[string]string{}
	for _, node := range members {
		nodes[node.Name] = node.Version
	}
	return info.Version, nodes
}

// prepare.sh leaves the packages of a node alone; init.sh upgrades the control plane, and upgrade-nodes.sh the nodes.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.up()
	packages := []string{"--kubernetes-version", "1.36.6", "--containerd-version", "2.3.8"}
	initTo := func(version string) result {
		return w.script(masterIP, "init", strings.Replace(kubeadm, "v1.36.5", "v"+version, 1), "--node", "master", "--address", "10.0.0.1",
			"--provider-id", "aws:///z-a/i-1", "--labels", "role=control-plane", "--taints", "")
	}
	upgrade := func() result {
		return w.script(masterIP, "upgrade-nodes", w.key, append([]string{"--nodes", "master,worker", "--parallel", "1", "--user", "ubuntu", "--kubelets", "hash", "--"}, packages...)...)
	}
	check := func(controlPlane, master, worker string) {
		t.Helper()
		is, nodes := w.versions()
		assert.Equal(t, controlPlane, is)
		assert.Equal(t, map[string]string{"master": master, "worker": worker}, nodes)
	}

	for host, node := range map[string]string{masterIP: "master", workerIP: "worker"} {
		assert.Contains(t, w.must(w.script(host, "prepare", "", append([]string{"--node", node}, packages...)...)).stdout, "downloaded Kubernetes 1.36.6")
	}
	check("1.36.5", "1.36.5", "1.36.5")
	assert.Contains(t, w.must(initTo("1.36.6")).stderr, "upgrading the control plane from Kubernetes 1.36.5 to 1.36.6")
	check("1.36.6", "1.36.5", "1.36.5")
	assert.Contains(t, w.must(upgrade()).stderr, "worker: has Kubernetes 1.36.6 and containerd 2.3.8")
	check("1.36.6", "1.36.6", "1.36.6")
	assert.Empty(t, w.must(upgrade()).stderr, "nothing is to be done")

	assert.Contains(t, initTo("1.36.5").stderr, "cannot go back to 1.36.5")
	assert.Contains(t, initTo("1.38.0").stderr, "set eco2:versions.kubernetes to a version of 1.37 first, and then to 1.38.0")
	check("1.36.6", "1.36.6", "1.36.6")
}
