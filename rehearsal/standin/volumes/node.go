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

// directories reconciles the directories of one node's volumes.
type directories struct {
	cluster client.Reader
	// hostname is the node's label kubernetes.io/hostname.
	hostname string
	// root is the directory that contains the volumes' directories.
	root string
}

// Reconcile creates the directory of a volume, and removes it when the volume is released and its reclaim policy is
// Delete. The directory stays if the policy is Retain, or if the volume was deleted while Node did not run.
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
			return reconcile.Result{}, fmt.Errorf("removing the directory of volume %s: %w", id, err)
		}
		return reconcile.Result{}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return reconcile.Result{}, fmt.Errorf("creating the directory of volume %s: %w", id, err)
	}
	return reconcile.Result{}, nil
}
