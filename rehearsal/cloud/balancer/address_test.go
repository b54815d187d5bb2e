package balancer

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/netspace"
)

func TestNetworkInterfaceAddsAndRemovesAddresses(t *testing.T) {
	needs.Root(t, "make a network namespace")
	require.NoError(t, netspace.InNew(func() { changeAddresses(t) }))
}

// changeAddresses adds and removes addresses of an interface in the present network namespace.
func changeAddresses(t *testing.T) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}
	require.NoError(t, netlink.LinkAdd(link))
	require.NoError(t, netlink.LinkSetUp(link))
	card, address := NetworkInterface("eth0"), netip.MustParseAddr("10.0.15.254")
	addresses := func() (texts []string) {
		list, err := netlink.AddrList(link, netlink.FAMILY_V4)
		require.NoError(t, err)
		for _, a := range list {
			texts = append(texts, a.IPNet.String())
		}
		return texts
	}
	require.NoError(t, card.AddAddress(address))
	require.NoError(t, card.AddAddress(address), "adding an address twice succeeds")
	assert.Equal(t, []string{"10.0.15.254/32"}, addresses())
	require.NoError(t, card.RemoveAddress(address))
	require.NoError(t, card.RemoveAddress(address), "removing an address twice succeeds")
	assert.Empty(t, addresses())
	assert.ErrorContains(t, NetworkInterface("eth9").AddAddress(address), "adding the address 10.0.15.254: Link not found")
}
