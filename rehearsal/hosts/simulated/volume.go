package simulated

import (
	"slices"

	"eco2/rehearsal/internal/store"
)

// volumeKind is the kind of the contents of volumes in the store.
const volumeKind = "volume"

// contents is what is on the volume with a cluster's state. It outlives the machine.
type contents struct {
	// Owner is the name of the cluster that state.sh recorded.
	Owner string `json:"owner"`
	// Cluster is the id of the cluster. It is empty before init.sh.
	Cluster string `json:"cluster,omitempty"`
	// Address is the control plane's address.
	Address string `json:"address,omitempty"`
	// Recorded holds the machines of the nodes: see state.Recorded.
	Recorded map[string]recorded `json:"recorded,omitempty"`
	// Volume is the id of the volume, as state.sh recorded it.
	Volume string `json:"volume,omitempty"`
	// Snapshot is the snapshot that the volume was made of. It is empty once init.sh has brought the cluster up on it.
	Snapshot string `json:"snapshot,omitempty"`
}

// contents returns what is on a volume, and changes it unless to is nil.
func (s *Hosts) contents(volume string, to func(*contents)) (on contents, err error) {
	err = s.store.Update(func(tx *store.Tx) error {
		if _, err := tx.Get(volumeKind, volume, &on); err != nil || to == nil {
			return err
		}
		to(&on)
		return tx.Put(volumeKind, volume, on)
	})
	return on, err
}

// putState simulates state.sh.
func (s *shell) putState() error {
	volume, cluster := s.flags["volume"], s.flags["cluster"]
	if !slices.Contains(s.machine.Volumes, volume) {
		return die("the volume %s does not appear on this machine; see 'lsblk' there", volume)
	}
	on, err := s.contents(volume, nil)
	if err != nil {
		return err
	}
	if on.Owner != "" && on.Owner != cluster {
		return die("the volume %s has the state of the cluster %s, and this is %s; nothing on it was changed", volume, on.Owner, cluster)
	}
	moved := s.state.Cluster != "" && s.state.Volume == ""
	if moved && on.Cluster != "" {
		return die("the volume %s has a control plane on it, and this machine's own disk has another one; attach the volume that belongs to this machine", volume)
	}
	before := on.Volume
	_, err = s.contents(volume, func(on *contents) {
		on.Owner, on.Volume = cluster, volume
		if moved {
			on.Cluster, on.Address, on.Recorded = s.state.Cluster, s.machine.PrivateIP, s.state.Recorded
		}
	})
	if err != nil {
		return err
	}
	if err := s.update(func(st *state) { st.Volume = volume }); err != nil {
		return err
	}
	if before != "" && before != volume {
		if err := s.say("the volume %s has the state that a snapshot of %s had", volume, before); err != nil {
			return err
		}
	}
	return s.say("the state of the cluster is on the volume %s", volume)
}

// adopt brings up the control plane that is on the volume on this machine. found is false if there is none.
func (s *shell) adopt() (found bool, err error) {
	on, err := s.contents(s.state.Volume, nil)
	if err != nil || on.Cluster == "" {
		return false, err
	}
	if on.Address != s.machine.PrivateIP {
		return false, die("the control plane on the volume has the address %s, by which its workers and etcd know it, and this machine has %s; nothing was changed", on.Address, s.machine.PrivateIP)
	}
	if on.Snapshot != "" {
		if err := s.clusters.Cluster(on.Cluster).Load(on.Snapshot); err != nil {
			return false, err
		}
		if _, err := s.contents(s.state.Volume, func(on *contents) { on.Snapshot = "" }); err != nil {
			return false, err
		}
		if err := s.say("raising etcd's revision, since its data is that of a snapshot"); err != nil {
			return false, err
		}
	}
	return true, s.update(func(st *state) { st.Cluster, st.ControlPlane, st.Recorded = on.Cluster, true, on.Recorded })
}
