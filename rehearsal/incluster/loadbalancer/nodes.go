package loadbalancer

import (
	"context"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// excluding are the labels of nodes that are no targets. kubeadm gives the first to its control plane.
var excluding = []string{corev1.LabelNodeExcludeBalancers, "node-role.kubernetes.io/master"}

var instanceID = regexp.MustCompile(`^i-[0-9a-f]+$`)

// targets are the instances that traffic goes to. A node that is no instance, by its provider ID, stops all changes:
// the real controller registers none either while there is one.
func (c *controller) targets(ctx context.Context) ([]string, error) {
	var nodes corev1.NodeList
	if err := c.cluster.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var ids []string
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if !suitable(node) {
			continue
		}
		if node.Spec.ProviderID == "" {
			return nil, fmt.Errorf("providerID is not specified for node: %s", node.Name)
		}
		id := path.Base(node.Spec.ProviderID)
		if !instanceID.MatchString(id) {
			return nil, fmt.Errorf("providerID %s is invalid for EC2 instances, node: %s", node.Spec.ProviderID, node.Name)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

func suitable(node *corev1.Node) bool {
	for _, label := range excluding {
		if _, excluded := node.Labels[label]; excluded {
			return false
		}
	}
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// targetsChange is of nodes that become targets or stop to be. Heartbeats are no change.
type targetsChange struct{ predicate.Funcs }

// Update implements predicate.Predicate.
func (targetsChange) Update(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*corev1.Node), e.ObjectNew.(*corev1.Node)
	return suitable(before) != suitable(after) || !reflect.DeepEqual(before.Spec.ProviderID, after.Spec.ProviderID) ||
		!maps.Equal(before.Labels, after.Labels)
}
