package config

import (
	"math/bits"
	"net/netip"
)

const (
	// nodeBits is the size of the network that Kubernetes' controller manager takes out of podCidr for each node.
	nodeBits = 24
	// SubnetBits is how much smaller a zone's subnet is than the VPC: a /16 gives /20 subnets of 4,091 addresses.
	SubnetBits = 4
	// subnetReserve are the addresses of a subnet that no node gets: AWS keeps 5, and an Application Load Balancer
	// needs 8 free ones.
	subnetReserve = 5 + 8
)

// room refuses networks that are too small for the stack's nodes: the nodes beyond would come up without a pod
// network, or AWS would refuse their machines in the middle of an update.
func (l *loader) room(c *Config, nodes []NodeEntry) {
	count := machineCount(c.Nodes, nodes)
	if p := c.PodCidr; p.IsValid() {
		fit := 0
		if p.Bits() <= nodeBits {
			fit = 1 << (nodeBits - p.Bits())
		}
		switch {
		case p.Bits() < nodeBits-16:
			l.problem("podCidr", "%s is larger than kubeadm takes; give /%d or smaller", p, nodeBits-16)
		case fit < count:
			l.problem("podCidr", "%s has room for %d node(s), and this stack has %d; each takes a /%d of it, so give /%d or larger, "+
				"or fewer nodes", p, fit, count, nodeBits, nodeBits-bits.Len(uint(count-1)))
		}
	}
	if p, zones := c.VpcCidr, len(c.Zones); vpcSize(p) && zones > 0 {
		fit := 1<<(32-p.Bits()-SubnetBits) - subnetReserve
		// The table spreads its nodes over the zones, so each has its share, rounded up.
		if each := (count + zones - 1) / zones; each > fit {
			l.problem("vpcCidr", "%s has room for %d nodes in each zone, and this stack has %d; give a larger network, more zones, "+
				"or fewer nodes", p, fit, each)
		}
	}
}

// machineCount is the number of nodes that a stack's overrides make of the node table. Counts that are refused
// elsewhere count as one.
func machineCount(overrides map[string]NodeOverride, nodes []NodeEntry) int {
	total := 0
	for _, node := range nodes {
		if n := overrides[node.Name].Count; n != nil && *n >= 0 && *n <= maxCount {
			total += *n
		} else {
			total++
		}
	}
	return max(total, 1)
}

// vpcSize reports whether a network may be the VPC's. 16 is AWS's own bound; above 20 a subnet would hold fewer
// than the addresses that a load balancer and 14 nodes with room to grow need.
func vpcSize(p netip.Prefix) bool { return p.IsValid() && p.Bits() >= 16 && p.Bits() <= 20 }

// internetShare is the part of all IPv4 addresses that networks cover together: 1 is the whole internet.
func internetShare(networks []netip.Prefix) float64 {
	var covered uint64
	for i, p := range networks {
		// Two networks are disjoint, the same, or one lies in the other: only the outermost count, and once.
		inside := false
		for j, other := range networks {
			inside = inside || other.Contains(p.Addr()) && (other.Bits() < p.Bits() || other == p && j < i)
		}
		if !inside {
			covered += 1 << (32 - p.Bits())
		}
	}
	return float64(covered) / (1 << 32)
}
