package simulated

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/hosts/simulated"
)

const region = "ap-northeast-2"

// The cluster of a protected stack is set back to a snapshot that AWS made by the policy, with the commands in
// docs/operations.md. What was created since is gone, and what was there before is there.
func TestTheClusterIsSetBackToASnapshot(t *testing.T) {
	t.Parallel()
	const (
		volume     = "aws:ebs/volume:Volume k8s-master-state"
		instance   = "aws:ec2/instance:Instance k8s-master"
		attachment = "aws:ec2/volumeAttachment:VolumeAttachment k8s-master-state"
	)
	w := newWorld(t, "prod", "")
	w.Must(w.Up())
	account := aws.Open(w.Dir)

	create := func(name string) {
		t.Helper()
		_, err := w.Cluster().Apply(t.Context(), provider.Manifest{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"},
		}, provider.ApplyOptions{Manager: "kubectl"})
		require.NoError(t, err)
	}
	exists := func(name string) bool {
		t.Helper()
		_, err := w.Cluster().Get(t.Context(), provider.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: name})
		if err != nil {
			require.ErrorIs(t, err, provider.ErrNotFound)
		}
		return err == nil
	}
	backup := func() string {
		t.Helper()
		made, err := api.RunLifecyclePolicy(t.Context(), account, region, policyOf(t, account), simulated.NewDisks(w.Dir))
		require.NoError(t, err)
		require.Len(t, made, 1)
		return made[0]
	}
	state := func() string {
		t.Helper()
		volumes, err := account.EveryVolume()
		require.NoError(t, err)
		volumes = slices.DeleteFunc(volumes, func(v aws.Volume) bool { return v.URN == "" })
		require.Len(t, volumes, 1, "the old volume is still there")
		return volumes[0].ID
	}

	create("before")
	snapshot, old, joined := backup(), state(), members(t, w)
	create("after")
	address := w.Must(w.Pulumi("stack", "output", "apiEndpoint"))

	t.Run("a snapshot that does not exist changes nothing", func(t *testing.T) {
		w.Options.Config["restoreFrom"] = "snap-0123456789abcdef0"
		w.Changes()
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "InvalidSnapshot.NotFound: The snapshot 'snap-0123456789abcdef0' does not exist.")
		for _, call := range w.Changes() {
			assert.NotContains(t, call, "Delete")
		}
		assert.Equal(t, old, state())
		assert.True(t, exists("after"))
	})

	t.Run("the volume and its machine are replaced", func(t *testing.T) {
		w.Options.Config["restoreFrom"] = snapshot
		steps := w.Steps()
		for _, want := range []string{volume, instance, attachment} {
			assert.Contains(t, steps, "replace "+want)
		}
		for _, step := range steps {
			if strings.HasPrefix(step, "replace aws:") {
				assert.Contains(t, step, "k8s-master", "no other machine")
			}
		}
		w.Changes()
		printed := w.Must(w.Up())
		assert.Contains(t, printed, "this update replaces the control plane's machine and the disk with the cluster's state")
		assert.Contains(t, printed, "raising etcd's revision")
		calls := w.Changes()
		w.InOrder(calls, "Create "+volume, "Delete "+instance, "Create "+instance, "Create "+attachment, "Create command:remote:Command init-k8s-master", "Delete "+volume)
		assert.NotEqual(t, old, state())
		assert.True(t, exists("before"))
		assert.False(t, exists("after"))
		assert.Equal(t, address, w.Must(w.Pulumi("stack", "output", "apiEndpoint")))
		now := members(t, w)
		for name := range joined {
			if name != "k8s-master" {
				assert.Equal(t, joined[name].ProviderID, now[name].ProviderID, "%s is the same machine", name)
			}
		}
	})

	t.Run("what Pulumi believed to exist is created again, and the volume is protected", func(t *testing.T) {
		w.Must(w.Up("--refresh"))
		assert.Empty(t, w.Steps())
		printed, err := w.Up("--replace", "**Volume::k8s-master-state")
		require.Error(t, err)
		assert.Contains(t, printed, "protect")
	})

	t.Run("without the setting the volume stays, and so it does when the snapshot is gone", func(t *testing.T) {
		delete(w.Options.Config, "restoreFrom")
		assert.Empty(t, w.Steps())
		require.NoError(t, account.Update(region, func(tx aws.Tx) error { return tx.Drop(aws.SnapshotKind, snapshot) }))
		assert.Empty(t, w.Steps())
		w.Must(w.Up())
		assert.True(t, exists("before"))
	})
}

// An update that is interrupted after it has made the new volume replaces the machine the next time, which would
// otherwise lose its disk while it runs.
func TestAnInterruptedRestoreContinues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Options.Config["backup"] = map[string]any{"everyHours": 4}
	w.Must(w.Up())
	account := aws.Open(w.Dir)
	made, err := api.RunLifecyclePolicy(t.Context(), account, region, policyOf(t, account), simulated.NewDisks(w.Dir))
	require.NoError(t, err)
	w.Options.Config["restoreFrom"] = made[0]
	printed, err := w.Up("--target", "**Volume::k8s-master-state")
	require.Error(t, err)
	assert.Contains(t, printed, "VolumeInUse", "the machine still has the old one")
	w.Changes()
	w.Must(w.Up())
	w.InOrder(w.Changes(), "Delete aws:ec2/instance:Instance k8s-master", "Create aws:ec2/instance:Instance k8s-master")
	w.Must(w.Up("--refresh"))
	assert.Empty(t, w.Steps())
}

// policyOf returns the id of the account's only lifecycle policy.
func policyOf(t *testing.T, account *aws.Account) (id string) {
	t.Helper()
	inventory, err := account.Inventory()
	require.NoError(t, err)
	for _, e := range inventory {
		if e.Kind == aws.LifecyclePolicyKind {
			require.Empty(t, id, "there are two policies")
			id = e.ID
		}
	}
	require.NotEmpty(t, id)
	return id
}
