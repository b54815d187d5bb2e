package machines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	dockernet "github.com/docker/docker/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// OperatorAddress is where the rehearsal's user, this host, is for the machines. It is the address that the
	// models know as hosts.DefaultOperator.
	OperatorAddress = "100.64.0.10"
	// MirrorAddress is where the machines find the mirror, in the range that carriers keep for themselves (RFC 6598).
	MirrorAddress = "100.64.0.1"
)

// routeProtocol marks the host's routes that are the rehearsal's. The number is nobody's in iproute2's rt_protos.
const routeProtocol = 236

// createNetwork makes the bridge of a VPC. Its machines reach each other and what this host translates, and
// nothing else: they are not masqueraded.
func (d *Driver) createNetwork(ctx context.Context, n network) error {
	if err := unused(n); err != nil {
		return err
	}
	_, err := d.docker.NetworkCreate(ctx, dockerName(n.Name, n.ID), dockernet.CreateOptions{
		Driver: "bridge",
		IPAM:   &dockernet.IPAM{Config: []dockernet.IPAMConfig{{Subnet: n.CIDR.String(), Gateway: n.gateway().String()}}},
		Options: map[string]string{
			"com.docker.network.bridge.name":                 n.bridge(),
			"com.docker.network.bridge.enable_ip_masquerade": "false",
		},
		Labels: map[string]string{Label: d.stateDir, idLabel: n.ID},
	})
	if err != nil {
		return fmt.Errorf("making the network %s of %s: %w", n.CIDR, n.ID, err)
	}
	return nil
}

// unused verifies that this host reaches no other network by addresses of the VPC's.
func unused(n network) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing the host's routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ones, _ := r.Dst.Mask.Size()
		address, _ := netip.AddrFromSlice(r.Dst.IP.To4())
		if prefix := netip.PrefixFrom(address, ones); ones > 0 && prefix.Overlaps(n.CIDR) {
			device := "another device"
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				device = link.Attrs().Name
			}
			return fmt.Errorf("making the network %s of %s: this host reaches %s through %s; give the stack another vpcCidr, or remove that network",
				n.CIDR, n.ID, prefix, device)
		}
	}
	return nil
}

// attach gives this host its address in a VPC, and a route to each public address there, and takes away routes
// that no machine has any more.
func attach(n network, w wanted) error {
	link, err := netlink.LinkByName(n.bridge())
	if err != nil {
		return fmt.Errorf("finding the bridge of %s: %w", n.ID, err)
	}
	operator := net.ParseIP(OperatorAddress)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: host(operator)}); err != nil {
		return fmt.Errorf("giving this host the address %s in %s: %w", OperatorAddress, n.ID, err)
	}
	routes := []netlink.Route{{
		Dst: host(net.ParseIP(MirrorAddress)), Gw: net.IP(n.resolver().AsSlice()),
		// Every VPC has one. This host may take any of them.
		Priority: link.Attrs().Index,
	}}
	for _, m := range w.machines {
		if ip := net.ParseIP(m.PublicIP); ip != nil && m.network.ID == n.ID {
			routes = append(routes, netlink.Route{Dst: host(ip), Src: operator, Scope: unix.RT_SCOPE_LINK})
		}
	}
	wanted := map[string]bool{}
	for _, r := range routes {
		r.LinkIndex, r.Protocol = link.Attrs().Index, routeProtocol
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("making a route to %s in %s: %w", r.Dst.IP, n.ID, err)
		}
		wanted[r.Dst.String()] = true
	}
	existing, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{LinkIndex: link.Attrs().Index, Protocol: routeProtocol}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("listing the routes into %s: %w", n.ID, err)
	}
	for _, r := range existing {
		if wanted[r.Dst.String()] {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", r.Dst.IP, err)
		}
	}
	return nil
}

// claimed are the public addresses that another rehearsal on this host has, with the network device that it has
// them on. Each account begins with the same addresses.
func (w wanted) claimed() (map[string]string, error) {
	own, claimed := map[string]bool{}, map[string]string{}
	for _, n := range w.networks {
		own[n.bridge()] = true
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	for _, r := range routes {
		// A device that is gone by now took its routes with it.
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && !own[link.Attrs().Name] {
			claimed[r.Dst.IP.String()] = link.Attrs().Name
		}
	}
	return claimed, nil
}

func host(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip.To4(), Mask: net.CIDRMask(32, 32)} }
