// Package volumes is what the containers of the EBS CSI driver's stand-in run: Controller once in the cluster, and
// Node on each machine.
//
// The controller answers the claims of StorageClasses with upstream's provisioner name, through the library that
// upstream's own provisioner is made with: so finalizers, annotations, events and the order of things are the real
// ones. It has AWS make a volume for each claim, in the zone of the node that the scheduler chose, and takes it away
// with its claim. What a pod then mounts is no disk but a directory of that node, which Node makes: it stays on the
// machine, is not bounded by the volume's size, is not encrypted, and cannot follow a pod to another node of the zone.
// Volumes do not grow, and there are no snapshots.
package volumes

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Driver is the provisioner's name in a StorageClass.
const Driver = "ebs.csi.aws.com"

// Root is the directory of each node that has a directory for each volume, named by the volume's id.
const Root = "/var/lib/" + Driver

// provisionedBy is the annotation of a PersistentVolume that names its driver.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

// volumeID is which of AWS's volumes a PersistentVolume stands for.
func volumeID(volume *corev1.PersistentVolume) (string, error) {
	if volume.Spec.Local == nil || path.Dir(volume.Spec.Local.Path) != Root {
		return "", fmt.Errorf("persistent volume %s is none of a directory in %s", volume.Name, Root)
	}
	return path.Base(volume.Spec.Local.Path), nil
}

// on is the affinity of what lies on one node's disk.
func on(node *corev1.Node) *corev1.VolumeNodeAffinity {
	return &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node.Labels[corev1.LabelHostname]},
		}}}},
	}}
}

// isOn says whether a volume lies on the node with this host name.
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

// machine is the instance behind a node, and its zone, from aws:///ZONE/INSTANCE.
func machine(node *corev1.Node) (zone, instance string, err error) {
	rest, aws := strings.CutPrefix(node.Spec.ProviderID, "aws:///")
	zone, instance, two := strings.Cut(rest, "/")
	if !aws || !two || zone == "" || instance == "" {
		return "", "", fmt.Errorf("node %s has the provider id %q and not aws:///ZONE/INSTANCE, so nobody knows its zone",
			node.Name, node.Spec.ProviderID)
	}
	return zone, instance, nil
}
