package simulated

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
