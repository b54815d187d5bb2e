package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// directories makes and removes those of one node's volumes.
type directories struct {
	cluster client.Reader
	// hostname is the node's label of that name, root where the directories are.
	hostname, root string
}

// Reconcile makes the directory of a volume, and removes it once its claim has gone and its data are to go too. A
// volume whose end this did not see leaves its directory behind, as the data of one that is to be kept do.
func (d directories) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	volume := &corev1.PersistentVolume{}
	if err := d.cluster.Get(ctx, request.NamespacedName, volume); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !isOn(volume, d.hostname) {
		return reconcile.Result{}, nil
	}
	id, err := volumeID(volume)
	if err != nil {
		return reconcile.Result{}, err
	}
	dir := filepath.Join(d.root, id)
	if volume.Status.Phase == corev1.VolumeReleased && volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		if err := os.RemoveAll(dir); err != nil {
			return reconcile.Result{}, fmt.Errorf("removing what was in volume %s: %w", id, err)
		}
		return reconcile.Result{}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return reconcile.Result{}, fmt.Errorf("making the directory of volume %s: %w", id, err)
	}
	return reconcile.Result{}, nil
}
