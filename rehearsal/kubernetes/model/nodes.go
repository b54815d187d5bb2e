package model

import (
	"fmt"
	"slices"
	"strings"

	"eco2/rehearsal/kubernetes"
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
			if strings.HasPrefix(id, c.id+"|") {
				n.Ready = slices.Contains(info.Bundles, "calico")
				nodes = append(nodes, n)
			}
			return nil
		})
	})
	return nodes, err
}

// operated are the kinds whose controllers would make deleted claims again.
var operated = []string{"RabbitmqCluster", "Redis", "RedisCluster", "RedisReplication", "RedisSentinel", "Prometheus", "Alertmanager"}

// Sweep deletes what made load balancers and volumes in AWS, and names each thing it deleted:
// "ingress shop/web".
func (c *Cluster) Sweep() (swept []string, err error) {
	err = c.store.Update(func(tx *store.Tx) error {
		var doomed []kubernetes.Ref
		err := c.each(tx, func(o object) {
			spec, _ := o.live()["spec"].(map[string]any)
			switch {
			case o.Ref.Kind == "Ingress" && o.Ref.Group() == "networking.k8s.io",
				o.Ref.Kind == "Service" && o.Ref.Group() == "" && spec["type"] == "LoadBalancer",
				o.Ref.Kind == "PersistentVolumeClaim" && o.Ref.Group() == "",
				slices.Contains(operated, o.Ref.Kind) && o.Ref.Group() != "":
				doomed = append(doomed, o.Ref)
			}
		})
		if err != nil {
			return err
		}
		for _, ref := range doomed {
			swept = append(swept, fmt.Sprintf("%s %s/%s", strings.ToLower(ref.Kind), ref.Namespace, ref.Name))
			if err := c.delete(tx, ref); err != nil {
				return err
			}
		}
		return nil
	})
	return swept, err
}
