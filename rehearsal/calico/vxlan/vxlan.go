// Package vxlan connects the pod networks of a cluster's nodes in the kernel: one VXLAN device on each
// node, and on it for each other node a route to its pods, the hardware address behind that route, and
// the address that its packets are sent to. Nothing is learned from packets, so nothing is flooded.
//
// It knows nothing of Kubernetes, and works on the network namespace of the calling thread.
package vxlan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/calico/sysctl"
)

// Calico's own name, network identifier and UDP port, so that what a firewall or a tcpdump has to know of
// Calico holds here.
const (
	Device = "vxlan.calico"
	VNI    = 4096
	Port   = 4789
)

// overhead is what encapsulation adds to a packet, in bytes: Ethernet 14, IPv4 20, UDP 8, VXLAN 8.
const overhead = 50

// protocol marks the routes that are ours, as it marks Calico's. Routes without it are left alone.
const protocol netlink.RouteProtocol = 80

// Node is what the others have to know of a node.
type Node struct {
	Name string
	// Address is the node's own: where encapsulated packets go.
	Address netip.Addr
	// PodCIDR is the network of its pods.
	PodCIDR netip.Prefix
}

// tunnel is the node's address on the VXLAN device. It is the first of the pod network, which IPAM gives
// to no pod.
func (n Node) tunnel() netip.Addr { return n.PodCIDR.Masked().Addr() }

// hardware is the VXLAN device's hardware address. It follows from the tunnel's address, so that a node
// need not publish it: two bytes that say "locally administered", and the four of the address.
func (n Node) hardware() net.HardwareAddr {
	ip := n.tunnel().As4()
	return net.HardwareAddr{0x02, 0xca, ip[0], ip[1], ip[2], ip[3]}
}

// DataPlane is how packets between pods travel.
type DataPlane struct {
	// Pool is the network of all pods. What leaves it is masqueraded.
	Pool netip.Prefix
	// CrossSubnet encapsulates only what goes to a node in another subnet than ours. Otherwise
	// everything is encapsulated.
	CrossSubnet bool
	// MTU is the VXLAN device's. 0 takes what the node's own device leaves room for.
	MTU int
}

// Program brings the kernel to what self needs to reach the pods of all others, and removes what leads to
// nodes that are gone. It repairs what somebody changed, and changes nothing that is right. A node that
// cannot be reached is an error, and does not keep the rest from being programmed.
func (d DataPlane) Program(self Node, others []Node) error {
	if !d.Pool.Contains(self.PodCIDR.Addr()) || self.PodCIDR.Bits() < d.Pool.Bits() {
		return fmt.Errorf("the pod network %s of node %s is not part of the pool %s", self.PodCIDR, self.Name, d.Pool)
	}
	own, err := findUnderlay(self.Address)
	if err != nil {
		return err
	}
	device, err := d.ensureDevice(self, own)
	if err != nil {
		return fmt.Errorf("setting up device %s: %w", Device, err)
	}
	wanted := peers{hardware: map[netip.Addr]net.HardwareAddr{}, address: map[string]netip.Addr{}, route: map[netip.Prefix]*netlink.Route{}}
	for _, other := range others {
		if d.CrossSubnet && own.subnet.Contains(other.Address) {
			wanted.addDirect(other, own)
		} else {
			wanted.addTunnel(other, device)
		}
	}
	return errors.Join(
		wanted.program(device),
		d.masquerade(),
		sysctl.Set("net/ipv4/ip_forward", "1"), // the kernel passes on what is for pods
	)
}

// underlay is the device that has a node's own address.
type underlay struct {
	index  int
	mtu    int
	subnet netip.Prefix
}

func findUnderlay(address netip.Addr) (underlay, error) {
	failed := func(err error) (underlay, error) {
		return underlay{}, fmt.Errorf("finding the device with the node's address %s: %w", address, err)
	}
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return failed(err)
	}
	for _, a := range all {
		if !a.IP.Equal(address.AsSlice()) {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return failed(err)
		}
		bits, _ := a.Mask.Size()
		return underlay{index: a.LinkIndex, mtu: link.Attrs().MTU, subnet: netip.PrefixFrom(address, bits).Masked()}, nil
	}
	return failed(errors.New("there is none"))
}

// PodMTU is the largest packet, in bytes, that a pod on the node with this address may send.
func (d DataPlane) PodMTU(address netip.Addr) (int, error) {
	own, err := findUnderlay(address)
	return d.mtu(own), err
}

func (d DataPlane) mtu(own underlay) int {
	if d.MTU != 0 {
		return d.MTU
	}
	return own.mtu - overhead
}

// ensureDevice returns the VXLAN device, up and with its address. What cannot be changed on a device that
// exists makes it anew.
func (d DataPlane) ensureDevice(self Node, own underlay) (netlink.Link, error) {
	mtu := d.mtu(own)
	attributes := netlink.NewLinkAttrs()
	attributes.Name = Device
	attributes.MTU = mtu
	// Set when the device is made: udev gives a hardware address of its own to devices without one.
	attributes.HardwareAddr = self.hardware()
	wanted := &netlink.Vxlan{
		LinkAttrs: attributes, VxlanId: VNI, Port: Port, SrcAddr: self.Address.AsSlice(), VtepDevIndex: own.index,
	}
	link, err := netlink.LinkByName(Device)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); err != nil && !missing {
		return nil, err
	}
	if err == nil && !sameTunnel(link, wanted) {
		if err := netlink.LinkDel(link); err != nil {
			return nil, fmt.Errorf("removing it, as it leads elsewhere: %w", err)
		}
		link = nil
	}
	if link == nil {
		if err := netlink.LinkAdd(wanted); err != nil {
			return nil, err
		}
		if link, err = netlink.LinkByName(Device); err != nil {
			return nil, err
		}
	}
	if link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return nil, fmt.Errorf("setting its MTU to %d: %w", mtu, err)
		}
	}
	if err := ensureAddress(link, self.tunnel()); err != nil {
		return nil, err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			return nil, err
		}
	}
	return link, nil
}

func sameTunnel(link netlink.Link, wanted *netlink.Vxlan) bool {
	found, ok := link.(*netlink.Vxlan)
	return ok && found.VxlanId == wanted.VxlanId && found.Port == wanted.Port &&
		found.SrcAddr.Equal(wanted.SrcAddr) && found.VtepDevIndex == wanted.VtepDevIndex && !found.Learning &&
		found.HardwareAddr.String() == wanted.HardwareAddr.String()
}

// ensureAddress makes address the only one of the device.
func ensureAddress(link netlink.Link, address netip.Addr) error {
	all, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing its addresses: %w", err)
	}
	wanted := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(address, address.BitLen()))}
	found := false
	for _, a := range all {
		if a.Equal(*wanted) {
			found = true
		} else if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("removing its address %s: %w", a.IPNet, err)
		}
	}
	if found {
		return nil
	}
	if err := netlink.AddrAdd(link, wanted); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding its address %s: %w", address, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
