package controllers

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
)

// claim applies a claim, and a pod that mounts it.
func (w *world) claim(name string) provider.Ref {
	w.Helper()
	w.apply(provider.Manifest{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"namespace": "kube-system", "name": "ebs-csi-controller"}, "spec": map[string]any{"replicas": 1}})
	w.apply(provider.Manifest{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": map[string]any{"name": "gp3"},
		"provisioner": driver, "reclaimPolicy": "Delete"})
	claim := named("PersistentVolumeClaim", "default", name)
	claim["spec"] = map[string]any{"storageClassName": "gp3", "resources": map[string]any{"requests": map[string]any{"storage": "5Gi"}}}
	w.apply(claim)
	pod := named("Pod", "default", name)
	pod["spec"] = map[string]any{"volumes": []any{map[string]any{"persistentVolumeClaim": map[string]any{"claimName": name}}}}
	w.apply(pod)
	return claim.Ref()
}

// The model of the driver creates and deletes volumes with the permissions of the nodes' role.
func TestVolumesUseTheRolesPermissions(t *testing.T) {
	w := newWorld(t)
	claim := w.claim("data")
	volumes, err := w.Account.Volumes()
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	assert.Equal(t, awsapitest.Cluster, volumes[0].Tags["ebs.csi.aws.com/cluster-name"])
	assert.Equal(t, w.Instances[0], volumes[0].InstanceID)

	require.NoError(t, w.cluster.Delete(t.Context(), provider.Ref{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "data"}))
	require.NoError(t, w.cluster.Delete(t.Context(), claim))
	require.NoError(t, w.Settle())
	volumes, err = w.Account.Volumes()
	require.NoError(t, err)
	assert.Empty(t, volumes)
}

// Several callers run the controllers at the same time. Nothing is created twice, or left behind.
func TestConcurrentSettle(t *testing.T) {
	w := newWorld(t)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 8 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.NoError(t, w.Settle())
				}
			}
		})
	}
	for range 15 {
		claim := w.claim("data")
		require.NoError(t, w.cluster.Delete(t.Context(), provider.Ref{APIVersion: "v1", Kind: "Pod", Namespace: "default", Name: "data"}))
		require.NoError(t, w.cluster.Delete(t.Context(), claim))
		require.Eventually(t, func() bool {
			_, err := w.cluster.Get(t.Context(), claim)
			return errors.Is(err, provider.ErrNotFound)
		}, 10*time.Second, time.Millisecond)
	}
	close(stop)
	others.Wait()
	require.NoError(t, w.Settle())
	volumes, err := w.Account.Volumes()
	require.NoError(t, err)
	assert.Empty(t, volumes)
}

// A role whose tag names another cluster is not allowed to create a volume for this one.
func TestVolumeOfAnotherClusterIsDenied(t *testing.T) {
	w := newWorld(t)
	_, err := w.cluster.RemoveNode("k8s-master")
	require.NoError(t, err)
	require.NoError(t, w.cluster.Register(model.Node{Name: "master", ProviderID: "aws:///" + awsapitest.Region + "a/" + w.Instances[0], ControlPlane: true}))
	w.claim("data") // the cluster's name is then eco2-dev-k8s, derived from the instance's name
	volumes, err := w.Account.Volumes()
	require.NoError(t, err)
	assert.Empty(t, volumes)
	event, err := w.cluster.Get(t.Context(), provider.Ref{APIVersion: "v1", Kind: "Event", Namespace: "default", Name: "data.ebs-csi-driver"})
	require.NoError(t, err)
	assert.Contains(t, event["message"], "is not authorized to perform: ec2:CreateVolume")
}
