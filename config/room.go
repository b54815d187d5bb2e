package config

import (
	"math/bits"
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

// checkRoom reports networks that are too small for the stack's nodes. The excess nodes would come up without a pod
// network, or AWS would refuse to start their machines in the middle of an update.
func (r *report) checkRoom(c Config, nodes []NodeEntry) {
	count := machineCount(c.Nodes, nodes)
	if p := c.PodCidr; p.IsValid() {
		fit := 0
		if p.Bits() <= nodeBits {
			fit = 1 << (nodeBits - p.Bits())
		}
		switch {
		case p.Bits() < nodeBits-16:
			r.problem("podCidr", "%s is larger than kubeadm supports; use /%d or smaller", p, nodeBits-16)
		case fit < count:
			r.problem("podCidr", "%s has room for %d node(s), and this stack has %d; each needs a /%d of it; "+
				"use /%d or larger, or fewer nodes", p, fit, count, nodeBits, nodeBits-bits.Len(uint(count-1)))
		}
	}
	if p, zones := c.VpcCidr, len(c.Zones); vpcSize(p) && zones > 0 {
		fit := 1<<(32-p.Bits()-SubnetBits) - subnetReserve
		// The node table distributes the nodes over the zones, so each zone has its share, rounded up.
		if each := (count + zones - 1) / zones; each > fit {
			r.problem("vpcCidr", "%s has room for %d nodes in each zone, and this stack has %d; use a larger network, "+
				"more zones, or fewer nodes", p, fit, each)
		}
	}
}
