package simulated

import (
	"context"
	"fmt"
	"path/filepath"

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/internal/store"
)

// Disks has what is on volumes and in snapshots of simulated machines. It implements aws.Disks.
type Disks struct {
	store    *store.Store
	clusters *model.Model
}

// NewDisks returns the disks whose contents are in a state directory.
func NewDisks(stateDir string) *Disks {
	return &Disks{store: store.Open(filepath.Join(stateDir, File)), clusters: model.Open(stateDir)}
}

// Snapshot implements aws.Disks. With the volume it copies the cluster, which is in etcd there.
func (d *Disks) Snapshot(_ context.Context, snapshot, volume string) error {
	var on contents
	err := d.store.Update(func(tx *store.Tx) error {
		if _, err := tx.Get(volumeKind, volume, &on); err != nil {
			return err
		}
		return tx.Put(volumeKind, snapshot, on)
	})
	if err == nil && on.Cluster != "" {
		err = d.clusters.Cluster(on.Cluster).Save(snapshot)
	}
	if err != nil {
		return fmt.Errorf("copying volume %s into snapshot %s: %w", volume, snapshot, err)
	}
	return nil
}

// Restore implements aws.Disks. The cluster is set back when its control plane comes up with the volume.
func (d *Disks) Restore(_ context.Context, volume, snapshot string) error {
	err := d.store.Update(func(tx *store.Tx) error {
		var on contents
		found, err := tx.Get(volumeKind, snapshot, &on)
		if err != nil || !found {
			return err // the snapshot of an empty volume
		}
		on.Snapshot = snapshot
		return tx.Put(volumeKind, volume, on)
	})
	if err != nil {
		return fmt.Errorf("copying snapshot %s onto volume %s: %w", snapshot, volume, err)
	}
	return nil
}
