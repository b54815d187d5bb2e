package model

import (
	"slices"

	"eco2/rehearsal/store"
)

// Node is a member of the cluster.
type Node struct {
	Name string `json:"name"`
	// ProviderID is aws:///<zone>/<instance id>.
	ProviderID string `json:"providerID"`
	// Address is the private IP address.
	Address      string            `json:"address"`
	Version      string            `json:"version"`
	ControlPlane bool              `json:"controlPlane,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Taints are in the form of kubectl: key=value:Effect.
	Taints []string `json:"taints,omitempty"`
	// Ready is whether the node has a pod network: the model knows no other reason against it.
	Ready bool `json:"-"`
}

// Register makes a node a member, or changes one.
func (c *Cluster) Register(node Node) error {
	return c.store.Update(func(tx *store.Tx) error { return tx.Put(nodeKind, c.id+"|"+node.Name, node) })
}

// RemoveNode takes a node out and says whether it was there.
func (c *Cluster) RemoveNode(name string) (found bool, err error) {
	err = c.store.Update(func(tx *store.Tx) error {
		if found, err = tx.Get(nodeKind, c.id+"|"+name, &Node{}); err != nil {
			return err
		}
		return tx.Delete(nodeKind, c.id+"|"+name)
	})
	return found, err
}

// Nodes lists the members, ordered by name.
func (c *Cluster) Nodes() (nodes []Node, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		info, err := c.info(tx)
		if err != nil {
			return err
		}
		return store.Each(tx, nodeKind, func(id string, n Node) error {
			if c.owns(id) {
				n.Ready = slices.Contains(info.Bundles, "calico")
				nodes = append(nodes, n)
			}
			return nil
		})
	})
	return nodes, err
}
