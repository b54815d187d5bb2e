package simulated

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/provider"
)

// replaceMaster gives the control plane a new machine, with the volumes of the old one.
func (w *world) replaceMaster(address string) {
	w.Helper()
	old := w.cloud.machines["master"]
	w.cloud.machines["master"] = &Machine{
		ID: "i-9", Name: "master", Network: "vpc-1", PublicIP: masterIP, PrivateIP: address, Zone: "z-a", Running: true,
		AuthorizedKey: old.AuthorizedKey, Volumes: old.Volumes,
	}
	w.must(w.prepare(masterIP, "master"))
	w.must(w.state("eco2-dev", "vol-1"))
}

func (w *world) initNew(address string) result {
	text := strings.NewReplacer("i-1", "i-9", "10.0.0.1", address).Replace(kubeadm)
	return w.script(masterIP, "init", text, "--node", "master", "--address", address, "--provider-id", "aws:///z-a/i-9", "--labels", "", "--taints", "")
}

func TestTheClusterOutlivesTheMachineOfItsControlPlane(t *testing.T) {
	w := newWorld(t)
	w.up()
	before := w.kubeconfig()
	w.replaceMaster("10.0.0.1")
	assert.Contains(t, w.must(w.initNew("10.0.0.1")).stdout, "was on the volume, and is up on this machine")
	assert.Equal(t, before, w.kubeconfig(), "it is another cluster")
	assert.Contains(t, w.must(w.join(nil)).stdout, "is in the cluster already", "workers need not join again")
	w.must(w.ready("master,worker"))
}

func TestVolumesThatBelongElsewhereAreRefused(t *testing.T) {
	w := newWorld(t)
	w.must(w.prepare(masterIP, "master"))
	assert.Contains(t, w.initAs("10.0.0.1", "aws:///z-a/i-1").stderr, "the state of the cluster is on no volume")
	assert.Contains(t, w.state("eco2-dev", "vol-2").stderr, "the volume vol-2 does not appear on this machine")
	w.must(w.state("eco2-dev", "vol-1"))
	assert.Contains(t, w.state("eco2-prod", "vol-1").stderr, "the volume vol-1 has the state of the cluster eco2-dev, and this is eco2-prod")
	w.must(w.init())
	w.replaceMaster("10.0.0.7")
	r := w.initNew("10.0.0.7")
	require.NotZero(t, r.exit)
	assert.Contains(t, r.stderr, "the control plane on the volume has the address 10.0.0.1")
}

// A new machine with a volume that was made of a snapshot brings up the cluster as it was when the snapshot was made.
func TestTheClusterIsSetBackToASnapshot(t *testing.T) {
	w := newWorld(t)
	w.up()
	disks := NewDisks(w.dir)
	require.NoError(t, disks.Snapshot(t.Context(), "snap-1", "vol-1"))
	cluster, err := w.connect()
	require.NoError(t, err)
	_, err = cluster.Apply(t.Context(), provider.Manifest{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "later", "namespace": "default"},
	}, provider.ApplyOptions{Manager: "test"})
	require.NoError(t, err)
	before := w.kubeconfig()

	require.NoError(t, disks.Restore(t.Context(), "vol-9", "snap-1"))
	w.cloud.machines["master"].Volumes = []string{"vol-9"}
	old := w.cloud.machines["master"]
	w.cloud.machines["master"] = &Machine{
		ID: "i-9", Name: "master", Network: "vpc-1", PublicIP: masterIP, PrivateIP: "10.0.0.1", Zone: "z-a", Running: true,
		AuthorizedKey: old.AuthorizedKey, Volumes: old.Volumes,
	}
	w.must(w.prepare(masterIP, "master"))
	assert.Contains(t, w.must(w.state("eco2-dev", "vol-9")).stdout, "the volume vol-9 has the state that a snapshot of vol-1 had")
	assert.Contains(t, w.must(w.initNew("10.0.0.1")).stdout, "raising etcd's revision")
	assert.NotContains(t, w.must(w.initNew("10.0.0.1")).stdout, "raising etcd's revision", "once")
	assert.Equal(t, before, w.kubeconfig(), "it is another cluster")
	cluster, err = w.connect()
	require.NoError(t, err)
	_, err = cluster.Get(t.Context(), provider.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: "later"})
	assert.ErrorIs(t, err, provider.ErrNotFound)
}
