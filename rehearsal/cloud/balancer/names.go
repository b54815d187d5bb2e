package balancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/setup"
)

// aliasLimit is the maximum depth of aliases of aliases, as they may form a cycle.
const aliasLimit = 8

// Resolve returns the addresses of a load balancer's DNS name, or of a name in the hosted zone, which may be an alias
// of a load balancer. ok is false for a name that does not exist; a name that exists may have no addresses.
func Resolve(account *aws.Account, name string) (addresses []netip.Addr, ok bool, err error) {
	balancers, err := account.LoadBalancers()
	if err != nil {
		return nil, false, fmt.Errorf("listing load balancers: %w", err)
	}
	interfaces, err := account.Interfaces()
	if err != nil {
		return nil, false, fmt.Errorf("listing the load balancers' interfaces: %w", err)
	}
	records, err := account.RecordsOf(setup.HostedZone)
	if err != nil {
		return nil, false, fmt.Errorf("listing the records of %s: %w", setup.HostedZone, err)
	}
	var resolve func(name string, depth int) ([]netip.Addr, bool)
	resolve = func(name string, depth int) (addresses []netip.Addr, ok bool) {
		name = plain(name)
		for _, b := range balancers {
			if plain(b.DNSName) != strings.TrimPrefix(name, "dualstack.") {
				continue
			}
			for _, i := range interfaces {
				if i.LoadBalancerARN == b.ARN {
					addresses = append(addresses, i.PrivateIP)
				}
			}
			return addresses, true
		}
		for _, r := range records {
			if plain(r.Name) != name || depth > aliasLimit {
				continue
			}
			ok = true
			if r.Type != "A" && r.Type != "CNAME" {
				continue
			}
			for _, value := range values(r) {
				if ip, err := netip.ParseAddr(value); err == nil {
					addresses = append(addresses, ip)
					continue
				}
				further, _ := resolve(value, depth+1)
				addresses = append(addresses, further...)
			}
		}
		return addresses, ok
	}
	addresses, ok = resolve(name, 0)
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses), ok, nil
}

// values returns a record's values and the targets of its aliases.
func values(r aws.Record) []string {
	all := slices.Clone(r.Records)
	for _, alias := range r.Aliases {
		all = append(all, alias.Name)
	}
	return all
}

// plain normalizes a name for comparisons.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
