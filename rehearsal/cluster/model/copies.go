package model

import (
	"encoding/json"
	"fmt"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Save copies the cluster as it is now, under a name that Load takes. A copy of that name is replaced.
func (c *Cluster) Save(name string) error {
	return c.store.Update(func(tx *store.Tx) error { return copyCluster(tx, c.id, copyID(name)) })
}

// Load sets the cluster back to a copy: what was created since is gone, and what was deleted is there.
func (c *Cluster) Load(name string) error {
	return c.store.Update(func(tx *store.Tx) error { return copyCluster(tx, copyID(name), c.id) })
}

func copyID(name string) string { return "copy of " + name }

// copyCluster replaces all records of one cluster by those of another.
func copyCluster(tx *store.Tx, from, to string) error {
	var info Info
	found, err := tx.Get(clusterKind, from, &info)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("copying cluster %s: there is no such cluster in the model", from)
	}
	info.ID = to
	if err := tx.Put(clusterKind, to, info); err != nil {
		return err
	}
	for _, kind := range []string{nodeKind, objectKind, releaseKind, managedKind} {
		records, old := map[string]json.RawMessage{}, []string{}
		err := store.Each(tx, kind, func(id string, record json.RawMessage) error {
			if rest, ok := strings.CutPrefix(id, from+"|"); ok {
				records[to+"|"+rest] = append(json.RawMessage(nil), record...)
			}
			if strings.HasPrefix(id, to+"|") {
				old = append(old, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range old {
			if err := tx.Delete(kind, id); err != nil {
				return err
			}
		}
		for id, record := range records {
			if err := tx.Put(kind, id, record); err != nil {
				return err
			}
		}
	}
	return nil
}
