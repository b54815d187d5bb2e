package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/docker/docker/api/types/filters"
	dockernet "github.com/docker/docker/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/internal/setup"
)

// bridgeName is the option of a Docker network with the name of its device.
const bridgeName = "com.docker.network.bridge.name"

// routeProtocol identifies this host's routes that belong to a rehearsal. iproute2's rt_protos does not assign the
// number.
const routeProtocol = 236

// createNetwork creates the bridge of a VPC. Its machines reach each other and the addresses that this host translates,
// and nothing else: their traffic is not masqueraded.
func (d *Driver) createNetwork(ctx context.Context, n network) error {
	if err := d.checkNoOverlap(ctx, n); err != nil {
		return err
	}
	_, err := d.docker.NetworkCreate(ctx, dockerName(n.Name, n.ID), dockernet.CreateOptions{
		Driver: "bridge",
		IPAM:   &dockernet.IPAM{Config: []dockernet.IPAMConfig{{Subnet: n.CIDR.String(), Gateway: n.gateway().String()}}},
		Options: map[string]string{
			bridgeName: n.bridge(),
			"com.docker.network.bridge.enable_ip_masquerade": "false",
		},
		Labels: map[string]string{Label: d.stateDir, idLabel: n.ID},
	})
	if err != nil {
		return fmt.Errorf("creating the network %s of %s: %w", n.CIDR, n.ID, err)
	}
	return nil
}

// checkNoOverlap returns an error if this host has a route to another network that overlaps the VPC's.
func (d *Driver) checkNoOverlap(ctx context.Context, n network) error {
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
			remedy := "remove that network"
			if owner := d.rehearsalOn(ctx, device); owner != "" {
				remedy = fmt.Sprintf("destroy the rehearsal with the state in %s, to which that network belongs", owner)
			}
			return fmt.Errorf("creating the network %s of %s: this host reaches %s through %s; give the stack another vpcCidr, or %s",
				n.CIDR, n.ID, prefix, device, remedy)
		}
	}
	return nil
}

// rehearsalOn returns the state directory of the rehearsal to which a network device belongs, or nothing.
func (d *Driver) rehearsalOn(ctx context.Context, device string) string {
	networks, err := d.docker.NetworkList(ctx, dockernet.ListOptions{Filters: filters.NewArgs(filters.Arg("label", Label))})
	if err != nil {
		return "" // it is only for a better error message
	}
	for _, n := range networks {
		if n.Options[bridgeName] == device {
			return n.Labels[Label]
		}
	}
	return ""
}

// attach gives this host its address in a VPC and a route to each public address there, and removes the routes to
// public addresses that no machine has any more.
func attach(n network, w desired) error {
	link, err := netlink.LinkByName(n.bridge())
	if err != nil {
		return fmt.Errorf("finding the bridge of %s: %w", n.ID, err)
	}
	operator := net.ParseIP(setup.OperatorAddress)
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: host(operator)}); err != nil {
		return fmt.Errorf("giving this host the address %s in %s: %w", setup.OperatorAddress, n.ID, err)
	}
	routes := []netlink.Route{{
		Dst: host(net.ParseIP(setup.MirrorAddress)), Gw: net.IP(n.resolver().AsSlice()),
		// Every VPC has a mirror, and this host may use any of them: each route gets a metric of its own.
		Priority: link.Attrs().Index,
	}}
	for _, m := range w.machines {
		if ip := net.ParseIP(m.PublicIP); ip != nil && m.network.ID == n.ID {
			routes = append(routes, netlink.Route{Dst: host(ip), Src: operator, Scope: unix.RT_SCOPE_LINK})
		}
	}
	keep := map[string]bool{}
	for _, r := range routes {
		r.LinkIndex, r.Protocol = link.Attrs().Index, routeProtocol
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("adding a route to %s in %s: %w", r.Dst.IP, n.ID, err)
		}
		keep[r.Dst.String()] = true
	}
	existing, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{LinkIndex: link.Attrs().Index, Protocol: routeProtocol}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("listing the routes into %s: %w", n.ID, err)
	}
	for _, r := range existing {
		if keep[r.Dst.String()] {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", r.Dst.IP, err)
		}
	}
	return nil
}

// claimedByOthers returns the public addresses that other rehearsals on this host use, each with its network device.
// They can collide, because each account allocates from the same pool, beginning with the same address.
func (w desired) claimedByOthers() (map[string]string, error) {
	own, claimed := map[string]bool{}, map[string]string{}
	for _, n := range w.networks {
		own[n.bridge()] = true
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	for _, r := range routes {
		// If the device is gone by now, so are its routes.
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil && !own[link.Attrs().Name] {
			claimed[r.Dst.IP.String()] = link.Attrs().Name
		}
	}
	return claimed, nil
}

func host(ip net.IP) *net.IPNet { return &net.IPNet{IP: ip.To4(), Mask: net.CIDRMask(32, 32)} }
