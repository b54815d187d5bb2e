// Package policy enforces Kubernetes' NetworkPolicies on a node, in the kernel: policies, Pods and
// Namespaces are compiled to the rules of the node's own pods, and those are one table of nftables, which is
// replaced as a whole, in one transaction.
//
// It is our own because the library for it, sigs.k8s.io/kube-network-policies, has packets judged by a
// process, over nftables' queue, and kernels are about that lack it (CONFIG_NFT_QUEUE), the one this was
// written on among them. A queue also stops all new connections while nobody reads it; rules in the kernel
// hold while their agent is away.
//
// Where Kubernetes leaves it open, this does what Calico does:
//   - Only new connections are judged. One that is open stays so, whatever becomes of policies.
//   - A node's own processes reach the node's pods, the kubelet's probes for one.
//   - A pod's way to its own node is subject to its policies for egress.
//   - What goes to a Service is judged by the pod or the node that it leads to, and by that one's port.
//   - Pods on the network of their node are subject to none, and no selector finds them.
//   - What is not let through is dropped, without an answer.
//   - An address that policies do not know is let neither in nor out, except from its own node. Pods are known
//     before they start: the CNI plugin announces them, and waits, for seconds also for calico-node itself.
//
// A sender is known by its address. Between pods that is their own. What comes from another node, be it a
// process of it or what it translated on the way to a NodePort, has that node's address in the pod network
// where it came through VXLAN, and its address in the VPC where it came directly, which CrossSubnet does in a
// subnet. That is so with Calico too. What comes to a NodePort of the pod's own node is judged before it is
// translated, by its first sender's address, there as here.
//
// What differs: Calico knows a pod by its device, so that it may not lie about its address; here it may. And
// there is no IPv6.
package policy

import "net/netip"

// Ruleset is what one node enforces.
type Ruleset struct {
	// Pods is the network of the node's pods. Addresses in it that no Guard names are closed.
	Pods            netip.Prefix
	Ingress, Egress []Guard
}

// Guard judges one direction of some of the node's pods.
type Guard struct {
	Pods []netip.Addr
	// Isolated pods have a policy for this direction; only what is open passes. Of others everything does.
	Isolated bool
	Open     []Opening
}

// Opening is what a rule of a policy lets through: from or to a peer, at a port.
type Opening struct {
	// Policy is namespace/name, for whoever reads the kernel's rules.
	Policy string
	Peer   Peer
	Port   Port
}

// Peer is the other side: pods, or a block of addresses. The zero Peer is everybody.
type Peer struct {
	Pods   []netip.Addr
	Block  netip.Prefix
	Except []netip.Prefix
}

// Port is what is spoken to. The zero Port is all of it, of any protocol.
type Port struct {
	// Protocol is IP's number of it.
	Protocol uint8
	// First and Last are both 0 for every port.
	First, Last uint16
	// Named are the ports of pods that have a name, where the rule says a name.
	Named []netip.AddrPort
}
