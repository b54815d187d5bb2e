package config

import (
	"net/netip"
)

// checkNetworks reports networks of a wrong size, and networks that overlap.
func (r *report) checkNetworks(c Config) {
	if c.VpcCidr.IsValid() && !vpcSize(c.VpcCidr) {
		r.problem("vpcCidr", "%s must be between /16 and /20", c.VpcCidr)
	}
	networks := []struct {
		key    string
		prefix netip.Prefix
	}{{"vpcCidr", c.VpcCidr}, {"podCidr", c.PodCidr}, {"serviceCidr", c.ServiceCidr}}
	for i, a := range networks {
		for _, b := range networks[i+1:] {
			if a.prefix.Overlaps(b.prefix) {
				r.problem(b.key, "%s overlaps %s %s; the VPC, pod and service networks must be disjoint",
					b.prefix, r.key(a.key), a.prefix)
			}
		}
	}
	if c.ServiceCidr.IsValid() && (c.ServiceCidr.Bits() < 12 || c.ServiceCidr.Bits() > 24) {
		// kube-apiserver refuses service ranges with more than 20 host bits.
		r.problem("serviceCidr", "%s must be between /12 and /24", c.ServiceCidr)
	}
}

// vpcSize reports whether a network has a valid size for the VPC. /16 is AWS's own limit; with a network smaller than
// /20, a subnet would have too few addresses for a load balancer and 14 nodes with room to grow.
func vpcSize(p netip.Prefix) bool { return p.IsValid() && p.Bits() >= 16 && p.Bits() <= 20 }
