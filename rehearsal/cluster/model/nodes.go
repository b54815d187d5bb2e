package model

import (
	"slices"

	"eco2/rehearsal/internal/store"
)

// Node is a member of the cluster.
type Node struct {
	Name string `json:"name"`
	// ProviderID has the format aws:///<zone>/<instance id>.
	ProviderID string `json:"providerID"`
	// Address is the private IP address.
	Address      string            `json:"address"`
	Version      string            `json:"version"`
	ControlPlane bool              `json:"controlPlane,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	// Taints has kubectl's format: key=value:Effect.
	Taints []string `json:"taints,omitempty"`
	// Ready says whether the cluster has a pod network. In the model nothing else makes a node not ready.
	Ready bool `json:"-"`
}

// Register adds a node to the cluster, or changes it.
func (c *Cluster) Register(node Node) error {
	return c.store.Update(func(tx *store.Tx) error { return tx.Put(nodeKind, c.id+"|"+node.Name, node) })
}

// RemoveNode removes a node and reports whether it existed.
func (c *Cluster) RemoveNode(name string) (found bool, err error) {
	err = c.store.Update(func(tx *store.Tx) error {
		if found, err = tx.Get(nodeKind, c.id+"|"+name, &Node{}); err != nil {
			return err
		}
		return tx.Delete(nodeKind, c.id+"|"+name)
	})
	return found, err
}

// Nodes returns the nodes, ordered by name.
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
