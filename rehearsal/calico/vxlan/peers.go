package vxlan

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// peers are the kernel's three tables, as they lead to the other nodes.
type peers struct {
	// route leads to the pods of a node.
	route map[netip.Prefix]*netlink.Route
	// hardware has the hardware address behind a route's gateway, which is a tunnel's address.
	hardware map[netip.Addr]net.HardwareAddr
	// address has where packets for a hardware address are sent, by its text.
	address map[string]netip.Addr
}

// addTunnel leads to a node through the VXLAN device.
func (p peers) addTunnel(n Node, device netlink.Link) {
	p.address[n.hardware().String()] = n.Address
	p.hardware[n.tunnel()] = n.hardware()
	p.route[n.PodCIDR.Masked()] = &netlink.Route{
		LinkIndex: device.Attrs().Index, Dst: ipNet(n.PodCIDR.Masked()), Gw: n.tunnel().AsSlice(),
		// The gateway is in no subnet of ours; it is behind the device nevertheless.
		Flags: int(netlink.FLAG_ONLINK), Protocol: protocol,
	}
}

// addDirect leads to a node in our own subnet as to any router.
func (p peers) addDirect(n Node, own underlay) {
	p.route[n.PodCIDR.Masked()] = &netlink.Route{
		LinkIndex: own.index, Dst: ipNet(n.PodCIDR.Masked()), Gw: n.Address.AsSlice(), Protocol: protocol,
	}
}

// program makes the kernel's tables these. A route comes after what it leads to, and goes before it.
func (p peers) program(device netlink.Link) error {
	return errors.Join(
		p.removeRoutes(),
		p.programAddresses(device),
		p.programHardware(device),
		p.addRoutes(),
	)
}

func (p peers) removeRoutes() error {
	found, err := ourRoutes()
	if err != nil {
		return err
	}
	var failed []error
	for _, route := range found {
		if p.route[prefix(route.Dst)] != nil {
			continue // addRoutes replaces what differs, without a moment between
		}
		if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = append(failed, fmt.Errorf("removing the route to %s: %w", route.Dst, err))
		}
	}
	return errors.Join(failed...)
}

func (p peers) addRoutes() error {
	found, err := ourRoutes()
	if err != nil {
		return err
	}
	same := map[netip.Prefix]bool{}
	for _, route := range found {
		to := prefix(route.Dst)
		wanted := p.route[to]
		same[to] = wanted != nil && route.LinkIndex == wanted.LinkIndex && route.Gw.Equal(wanted.Gw)
	}
	var failed []error
	for to, route := range p.route {
		if same[to] {
			continue
		}
		if err := netlink.RouteReplace(route); err != nil {
			failed = append(failed, fmt.Errorf("adding the route to %s via %s: %w", to, route.Gw, err))
		}
	}
	return errors.Join(failed...)
}

func ourRoutes() ([]netlink.Route, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{Protocol: protocol, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return routes, nil
}

// programAddresses is the device's forwarding table.
func (p peers) programAddresses(device netlink.Link) error {
	found, err := netlink.NeighList(device.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("listing the forwarding table of %s: %w", Device, err)
	}
	var failed []error
	same := map[string]bool{}
	for _, entry := range found {
		hardware := entry.HardwareAddr.String()
		address, wanted := p.address[hardware]
		if wanted {
			same[hardware] = entry.IP.Equal(address.AsSlice())
		} else if err := netlink.NeighDel(&entry); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("forgetting node %s: %w", entry.IP, err))
		}
	}
	for hardware, address := range p.address {
		if same[hardware] {
			continue
		}
		mac, err := net.ParseMAC(hardware)
		if err == nil {
			err = netlink.NeighSet(&netlink.Neigh{
				LinkIndex: device.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
				State: netlink.NUD_PERMANENT, HardwareAddr: mac, IP: address.AsSlice(),
			})
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("setting the address of node %s: %w", address, err))
		}
	}
	return errors.Join(failed...)
}

// programHardware is the device's neighbour table.
func (p peers) programHardware(device netlink.Link) error {
	found, err := netlink.NeighList(device.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing the neighbours on %s: %w", Device, err)
	}
	var failed []error
	same := map[netip.Addr]bool{}
	for _, entry := range found {
		if entry.State != netlink.NUD_PERMANENT {
			continue // the kernel's own: multicast, or what did not answer
		}
		tunnel, _ := netip.AddrFromSlice(entry.IP.To4())
		hardware, wanted := p.hardware[tunnel]
		if wanted {
			same[tunnel] = bytes.Equal(entry.HardwareAddr, hardware)
		} else if err := netlink.NeighDel(&entry); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("forgetting neighbour %s: %w", entry.IP, err))
		}
	}
	for tunnel, hardware := range p.hardware {
		if same[tunnel] {
			continue
		}
		if err := netlink.NeighSet(&netlink.Neigh{
			LinkIndex: device.Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
			HardwareAddr: hardware, IP: tunnel.AsSlice(),
		}); err != nil {
			failed = append(failed, fmt.Errorf("setting neighbour %s: %w", tunnel, err))
		}
	}
	return errors.Join(failed...)
}

// prefix of a route; the kernel gives none to a default route, and ours never is.
func prefix(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	address, _ := netip.AddrFromSlice(n.IP.To4())
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(address, bits)
}
