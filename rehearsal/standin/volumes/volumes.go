// Package volumes implements the containers of the stand-in for the EBS CSI driver: Controller runs once in the
// cluster, Node on each machine.
//
// The controller provisions the claims of StorageClasses with upstream's provisioner name. It uses the same library as
// upstream's provisioner, so finalizers, annotations, events and the order of operations are the real ones. It creates
// a volume in AWS for each claim, in the zone of the node that the scheduler chose, and deletes it with the claim. A
// pod does not mount a disk but a directory on that node, which Node creates. The directory stays on the machine, is
// not limited to the volume's size, is not encrypted, and cannot follow a pod to another node in the zone. There are
// no volume expansion and no snapshots.
package volumes

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Driver is the provisioner's name in a StorageClass.
const Driver = "ebs.csi.aws.com"

// Root is the directory on each node in which each volume has a directory, named after the volume's id.
const Root = "/var/lib/" + Driver

// provisionedBy is the annotation of a PersistentVolume that names its driver.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

// volumeID returns the id of the EBS volume of a PersistentVolume.
func volumeID(volume *corev1.PersistentVolume) (string, error) {
	if volume.Spec.Local == nil || path.Dir(volume.Spec.Local.Path) != Root {
		return "", fmt.Errorf("persistent volume %s does not have a local path directly in %s", volume.Name, Root)
	}
	return path.Base(volume.Spec.Local.Path), nil
}

// affinityTo returns the node affinity of a volume that is a directory on one node.
func affinityTo(node *corev1.Node) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node.Labels[corev1.LabelHostname]},
		}}}},
	}}
}

// isOn reports whether a volume of this driver is on the node with a host name.
func isOn(volume *corev1.PersistentVolume, hostname string) bool {
	if volume.Annotations[provisionedBy] != Driver || volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return false
	}
	for _, term := range volume.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == corev1.LabelHostname && len(e.Values) == 1 && e.Values[0] == hostname {
				return true
			}
		}
	}
	return false
}

// machine returns a node's zone and instance id, from the provider id aws:///ZONE/INSTANCE.
func machine(node *corev1.Node) (zone, instance string, err error) {
	rest, aws := strings.CutPrefix(node.Spec.ProviderID, "aws:///")
	zone, instance, two := strings.Cut(rest, "/")
	if !aws || !two || zone == "" || instance == "" {
		return "", "", fmt.Errorf("node %s has the provider id %q instead of aws:///ZONE/INSTANCE, so its zone is unknown",
			node.Name, node.Spec.ProviderID)
	}
	return zone, instance, nil
}
