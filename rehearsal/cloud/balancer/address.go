package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NetworkInterface is the name of a network interface of this host, to which addresses can be added.
type NetworkInterface string

// AddAddress adds an address. It succeeds if the interface already has it.
func (n NetworkInterface) AddAddress(address netip.Addr) error {
	err := n.with(address, netlink.AddrReplace)
	if err != nil {
		return fmt.Errorf("adding the address %s: %w", address, err)
	}
	return nil
}

// RemoveAddress removes an address. It succeeds if the interface does not have it.
func (n NetworkInterface) RemoveAddress(address netip.Addr) error {
	err := n.with(address, netlink.AddrDel)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing the address %s: %w", address, err)
	}
	return nil
}

func (n NetworkInterface) with(address netip.Addr, change func(netlink.Link, *netlink.Addr) error) error {
	link, err := netlink.LinkByName(string(n))
	if err != nil {
		return err
	}
	return change(link, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}})
}
