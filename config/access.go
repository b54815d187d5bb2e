package config

import (
	"fmt"
	"net/netip"
	"slices"
)

var everywhere = netip.MustParsePrefix("0.0.0.0/0")

// checkAccess reports the networks that may reach the machines if AWS would reject them, or if they are half of the
// internet or more.
func (r *report) checkAccess(c Config) {
	r.checkExposure(c.Environment, "adminCidrs", c.AdminCidrs, "SSH and the Kubernetes API")
	r.checkExposure(c.Environment, "nodePortCidrs", c.NodePortCidrs, "the NodePorts")
}

// checkExposure checks the networks that may reach certain ports; ports describes these in messages.
func (r *report) checkExposure(environment Environment, key string, networks []netip.Prefix, ports string) {
	if len(slices.Compact(slices.Clone(networks))) != len(networks) {
		r.problem(key, "contains a network twice; AWS rejects the second rule")
	}
	share := internetShare(networks)
	exposure := fmt.Sprintf("its networks together expose %s to %d %% of all IPv4 addresses", ports, int(share*100))
	if slices.Contains(networks, everywhere) {
		exposure = fmt.Sprintf("0.0.0.0/0 exposes %s to the whole internet", ports)
	}
	switch {
	case share < 0.5:
	case environment == Prod:
		r.problem(key, "%s, which is not allowed in prod; set your own addresses", exposure)
	default:
		r.warning(key, "%s", exposure)
	}
}

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
