package config

import (
	"math/bits"
	"net/netip"
)

const (
	// nodeBits is the prefix length of the network that Kubernetes' controller manager allocates to each node from
	// podCidr.
	nodeBits = 24
	// SubnetBits is the number of bits by which a subnet's prefix is longer than the VPC's: a /16 is split into /20
	// subnets of 4,091 addresses.
	SubnetBits = 4
	// subnetReserve is the number of addresses in a subnet that are not available to nodes: AWS reserves 5, and an
	// Application Load Balancer needs 8 free ones.
	subnetReserve = 5 + 8
)

// room reports networks that are too small for the stack's nodes. The excess nodes would come up without a pod network,
// or AWS would refuse to start their machines in the middle of an update.
func (l *loader) room(c *Config, nodes []NodeEntry) {
	count := machineCount(c.Nodes, nodes)
	if p := c.PodCidr; p.IsValid() {
		fit := 0
		if p.Bits() <= nodeBits {
			fit = 1 << (nodeBits - p.Bits())
		}
		switch {
		case p.Bits() < nodeBits-16:
			l.problem("podCidr", "%s is larger than kubeadm supports; use /%d or smaller", p, nodeBits-16)
		case fit < count:
			l.problem("podCidr", "%s has room for %d node(s), and this stack has %d; each needs a /%d of it; use /%d or larger, "+
				"or fewer nodes", p, fit, count, nodeBits, nodeBits-bits.Len(uint(count-1)))
		}
	}
	if p, zones := c.VpcCidr, len(c.Zones); vpcSize(p) && zones > 0 {
		fit := 1<<(32-p.Bits()-SubnetBits) - subnetReserve
		// The node table distributes the nodes over the zones, so each zone has its share, rounded up.
		if each := (count + zones - 1) / zones; each > fit {
			l.problem("vpcCidr", "%s has room for %d nodes in each zone, and this stack has %d; use a larger network, more zones, "+
				"or fewer nodes", p, fit, each)
		}
	}
}

// machineCount returns the number of a stack's nodes: the node table with the stack's overrides. An invalid count,
// which machines reports, counts as one.
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

// vpcSize reports whether a network has a valid size for the VPC. /16 is AWS's own limit; with a network smaller than
// /20, a subnet would have too few addresses for a load balancer and 14 nodes with room to grow.
func vpcSize(p netip.Prefix) bool { return p.IsValid() && p.Bits() >= 16 && p.Bits() <= 20 }

// internetShare returns the fraction of all IPv4 addresses that the networks together cover: 1 is the whole internet.
func internetShare(networks []netip.Prefix) float64 {
	var covered uint64
	for i, p := range networks {
		// Two networks are disjoint, equal, or one contains the other. Only the outermost are counted, each once.
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
