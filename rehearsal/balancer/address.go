package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Card is a network card that is given addresses besides its own.
type Card string

// Take gives it one, which it may have already.
func (c Card) Take(address netip.Addr) error {
	err := c.with(address, netlink.AddrReplace)
	if err != nil {
		return fmt.Errorf("taking the address %s: %w", address, err)
	}
	return nil
}

// Release takes one away, which it need not have.
func (c Card) Release(address netip.Addr) error {
	err := c.with(address, netlink.AddrDel)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("releasing the address %s: %w", address, err)
	}
	return nil
}

func (c Card) with(address netip.Addr, change func(netlink.Link, *netlink.Addr) error) error {
	link, err := netlink.LinkByName(string(c))
	if err != nil {
		return err
	}
	return change(link, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(32, 32)}})
}
