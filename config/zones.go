package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxZones is the maximum number of a stack's zones. Three are enough; a fourth allows moving from one zone to another.
const maxZones = 4

// lastZone is the letter of the last zone whose subnet fits into the VPC: there are 16.
const lastZone = 'p'

// checkZones reports a wrong number of zones, and zones that cannot have a subnet of their own.
func (r *report) checkZones(zones []string, region string) {
	switch n := len(zones); {
	case n < 2 || n > maxZones:
		// An Application Load Balancer requires two.
		r.problem("zones", "has %d zone(s); set 2 to %d, since a load balancer needs two", n, maxZones)
	case len(slices.Compact(slices.Sorted(slices.Values(zones)))) != n:
		r.problem("zones", "contains a zone twice; each zone has one subnet")
	}
	for i, zone := range zones {
		key := fmt.Sprintf("zones[%d]", i)
		suffix, ok := strings.CutPrefix(zone, region)
		switch {
		case !ok || len(suffix) != 1 || suffix[0] < 'a' || suffix[0] > 'z':
			r.problem(key, "%q is not a zone of region %s; zones are named like %sa", zone, region, region)
		case suffix[0] > lastZone:
			r.problem(key, "%q cannot have a subnet: a subnet's network is derived from its zone's letter, and %s has room "+
				"for the zones a to %c", zone, r.key("vpcCidr"), lastZone)
		}
	}
}
