// Package calico is a stand-in for Calico: a small network of ours under the names of Calico's manifest for VXLAN, so
// that what is applied on top of that manifest, and what waits for it, works on either. Of Calico itself v3.31.0 is the
// newest that was built from its Go module (2026-11-28), older than what the program installs; nobody has run it here.
//
// What is the same: objects, containers, variables, images and labels by name; the device vxlan.calico,
// its network identifier, its UDP port and its MTU; pods reach each other without translation, and what
// leaves their network has the node's address; the node's condition NetworkUnavailable; a calico-node is
// ready when the routes to all nodes are there and the NetworkPolicies of its pods are enforced, as package
// policy says.
//
// What is not: Calico's own policies are accepted and NOT enforced. A node's pods have addresses of the
// network that Kubernetes gave to it, not of Calico's IPAM, whose resources nothing reads.
// There is no BGP, IP-in-IP, eBPF, WireGuard, IPv6 or Typha, and no limit of bandwidth. Pods are on a
// bridge. A calico-node that ends leaves its node's condition as it is.
package calico

import (
	"bytes"
	_ "embed"
	"fmt"
	"text/template"
)

// Images are the manifest's three, by the names under which a node pulls them. One binary is in all of
// them, at Binary, and in that of CNI another, at Plugin.
type Images struct {
	Node, CNI, KubeControllers string
}

// Binary is where each image has the command calico.
const Binary = "/usr/bin/calico"

// Plugin is where the image of CNI has the command calico-cni, as the node will call it.
const Plugin = "/opt/cni/bin/calico"

// ImagesOf are the images of Calico's own manifest at a version: v3.32.1.
func ImagesOf(version string) Images {
	name := func(component string) string { return "quay.io/calico/" + component + ":" + version }
	return Images{Node: name("node"), CNI: name("cni"), KubeControllers: name("kube-controllers")}
}

//go:embed calico-vxlan.yaml
var text string

// Manifest is what stands in for Calico's manifests/calico-vxlan.yaml: the same bytes for the same images.
func Manifest(images Images) ([]byte, error) {
	parsed, err := template.New("calico-vxlan.yaml").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of Calico's stand-in: %w", err)
	}
	var manifest bytes.Buffer
	if err := parsed.Execute(&manifest, struct {
		Images
		Binary      string
		Definitions []definition
	}{images, Binary, definitions}); err != nil {
		return nil, fmt.Errorf("writing the manifest of Calico's stand-in: %w", err)
	}
	return manifest.Bytes(), nil
}

// definition is a custom resource of the group crd.projectcalico.org.
type definition struct {
	Kind, Singular, Plural, Scope string
}

// definitions are Calico's at v3.32. They have no schema here: any object is kept, and none is read.
var definitions = []definition{
	{"BGPConfiguration", "bgpconfiguration", "bgpconfigurations", "Cluster"},
	{"BGPFilter", "bgpfilter", "bgpfilters", "Cluster"},
	{"BGPPeer", "bgppeer", "bgppeers", "Cluster"},
	{"BlockAffinity", "blockaffinity", "blockaffinities", "Cluster"},
	{"CalicoNodeStatus", "caliconodestatus", "caliconodestatuses", "Cluster"},
	{"ClusterInformation", "clusterinformation", "clusterinformations", "Cluster"},
	{"FelixConfiguration", "felixconfiguration", "felixconfigurations", "Cluster"},
	{"GlobalNetworkPolicy", "globalnetworkpolicy", "globalnetworkpolicies", "Cluster"},
	{"GlobalNetworkSet", "globalnetworkset", "globalnetworksets", "Cluster"},
	{"HostEndpoint", "hostendpoint", "hostendpoints", "Cluster"},
	{"IPAMBlock", "ipamblock", "ipamblocks", "Cluster"},
	{"IPAMConfig", "ipamconfig", "ipamconfigs", "Cluster"},
	{"IPAMHandle", "ipamhandle", "ipamhandles", "Cluster"},
	{"IPPool", "ippool", "ippools", "Cluster"},
	{"IPReservation", "ipreservation", "ipreservations", "Cluster"},
	{"KubeControllersConfiguration", "kubecontrollersconfiguration", "kubecontrollersconfigurations", "Cluster"},
	{"NetworkPolicy", "networkpolicy", "networkpolicies", "Namespaced"},
	{"NetworkSet", "networkset", "networksets", "Namespaced"},
	{"StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicy", "stagedglobalnetworkpolicies", "Cluster"},
	{"StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicy", "stagedkubernetesnetworkpolicies", "Namespaced"},
	{"StagedNetworkPolicy", "stagednetworkpolicy", "stagednetworkpolicies", "Namespaced"},
	{"Tier", "tier", "tiers", "Cluster"},
}
