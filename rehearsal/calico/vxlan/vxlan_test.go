package vxlan_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/calico/netnstest"
	"eco2/rehearsal/calico/vxlan"
)

var pool = netip.MustParsePrefix("192.168.0.0/16")

// always is how the product sets Calico up.
var always = vxlan.DataPlane{Pool: pool}

func TestPodsReachEachOther(t *testing.T) {
	c := newCluster(t, 3)
	c.program(always)
	c.program(always) // a second pass finds all as it is

	for _, from := range c.nodes {
		for _, to := range c.nodes {
			if from == to {
				continue
			}
			before := to.encapsulated(t)
			assert.Equal(t, from.pod.Address.String(), netnstest.Ask(t, from.pod, to.pod), "%s to %s, not translated", from.Name, to.Name)
			assert.Greater(t, to.encapsulated(t), before, "packets came through UDP %d", vxlan.Port)
		}
	}
	// A node reaches the pods of others too, by its tunnel's address: kubelet's and kube-proxy's way.
	assert.Equal(t, c.nodes[0].PodCIDR.Addr().String(), netnstest.Ask(t, c.nodes[0].host, c.nodes[1].pod))
}

func TestWhatLeavesThePoolHasTheNodesAddress(t *testing.T) {
	c := newCluster(t, 2)
	c.program(always)
	assert.Equal(t, c.nodes[0].Address.String(), netnstest.Ask(t, c.nodes[0].pod, c.nodes[1].host))
}

func TestPacketsFit(t *testing.T) {
	c := newCluster(t, 2)
	c.program(always)
	c.nodes[0].run(t, func() {
		device, err := netlink.LinkByName(vxlan.Device)
		require.NoError(t, err)
		assert.Equal(t, 1450, device.Attrs().MTU)
	})
	c.nodes[0].run(t, func() {
		mtu, err := always.PodMTU(c.nodes[0].Address)
		require.NoError(t, err)
		assert.Equal(t, 1450, mtu)
		_, err = always.PodMTU(netip.MustParseAddr("10.9.9.9"))
		assert.EqualError(t, err, "finding the device with the node's address 10.9.9.9: there is none")
	})
}

func TestAChangedAddressHeals(t *testing.T) {
	c := newCluster(t, 3)
	c.program(always)
	moved := c.nodes[1]
	moved.setAddress(t, netip.MustParseAddr("10.0.0.99"))
	c.program(always)
	assert.Equal(t, c.nodes[0].pod.Address.String(), netnstest.Ask(t, c.nodes[0].pod, moved.pod))
	assert.Equal(t, moved.pod.Address.String(), netnstest.Ask(t, moved.pod, c.nodes[2].pod))
}

func TestWhatSomebodyChangedIsRepaired(t *testing.T) {
	c := newCluster(t, 2)
	c.program(always)
	broken := c.nodes[0]
	for what, change := range map[string]func(device netlink.Link) error{
		"device down": netlink.LinkSetDown, // takes its routes along
		"device gone": netlink.LinkDel,
		"MTU":         func(d netlink.Link) error { return netlink.LinkSetMTU(d, 1280) },
		"hardware address": func(d netlink.Link) error {
			return netlink.LinkSetHardwareAddr(d, net.HardwareAddr{2, 0, 0, 0, 0, 1})
		},
		"one address more": func(d netlink.Link) error {
			return netlink.AddrAdd(d, &netlink.Addr{IPNet: netnstest.Network("192.168.77.1/24")})
		},
	} {
		broken.run(t, func() {
			device, err := netlink.LinkByName(vxlan.Device)
			require.NoError(t, err)
			require.NoError(t, change(device), what)
		})
		c.program(always)
		assert.Equal(t, broken.pod.Address.String(), netnstest.Ask(t, broken.pod, c.nodes[1].pod), what)
		broken.run(t, func() {
			device, err := netlink.LinkByName(vxlan.Device)
			require.NoError(t, err)
			addresses, err := netlink.AddrList(device, netlink.FAMILY_V4)
			require.NoError(t, err)
			assert.Len(t, addresses, 1, what)
			assert.Equal(t, 1450, device.Attrs().MTU, what)
		})
	}
}

func TestNothingLeadsToANodeThatIsGone(t *testing.T) {
	c := newCluster(t, 3)
	c.program(always)
	gone := c.nodes[2]
	c.nodes = c.nodes[:2]
	c.program(always)
	c.nodes[0].run(t, func() {
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: netnstest.Network(gone.PodCIDR.String())}, netlink.RT_FILTER_DST)
		require.NoError(t, err)
		assert.Empty(t, routes)
		device, err := netlink.LinkByName(vxlan.Device)
		require.NoError(t, err)
		for _, family := range []int{unix.AF_BRIDGE, netlink.FAMILY_V4} {
			entries, err := netlink.NeighList(device.Attrs().Index, family)
			require.NoError(t, err)
			entries = slices.DeleteFunc(entries, func(n netlink.Neigh) bool { return n.State&netlink.NUD_PERMANENT == 0 })
			assert.Len(t, entries, 1, "the other node's")
		}
	})
	assert.Equal(t, c.nodes[0].pod.Address.String(), netnstest.Ask(t, c.nodes[0].pod, c.nodes[1].pod))
}

func TestCrossSubnetGoesDirectlyInsideOne(t *testing.T) {
	c := newCluster(t, 2)
	c.program(always)
	c.program(vxlan.DataPlane{Pool: pool, CrossSubnet: true})
	before := c.nodes[1].encapsulated(t)
	assert.Equal(t, c.nodes[0].pod.Address.String(), netnstest.Ask(t, c.nodes[0].pod, c.nodes[1].pod))
	assert.Equal(t, before, c.nodes[1].encapsulated(t))
}

func TestAPodNetworkOutsideThePoolIsRefused(t *testing.T) {
	node := vxlan.Node{Name: "a", Address: netip.MustParseAddr("10.0.0.1"), PodCIDR: netip.MustParsePrefix("172.16.1.0/24")}
	assert.EqualError(t, always.Program(node, nil), "the pod network 172.16.1.0/24 of node a is not part of the pool 192.168.0.0/16")
}

// cluster is nodes on one switch, each a network namespace with a pod in another.
type cluster struct {
	t     *testing.T
	nodes []*node
}

type node struct {
	vxlan.Node
	host netnstest.Place
	pod  netnstest.Place
}

func (n *node) run(t *testing.T, do func()) { t.Helper(); n.host.Run(t, do) }

func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	c := &cluster{t: t}
	fabric := netnstest.New(t, netip.Addr{})
	fabric.Run(t, func() { netnstest.Bridge(t, "switch") })
	for i := range size {
		n := &node{Node: vxlan.Node{
			Name:    fmt.Sprintf("node-%d", i+1),
			Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}),
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 24),
		}}
		n.host = netnstest.New(t, n.Address)
		n.pod = netnstest.New(t, netip.AddrFrom4([4]byte{192, 168, byte(i), 2}))
		port := fmt.Sprintf("port%d", i)
		netnstest.Cable(t, n.host, "eth0", fabric, port)
		fabric.Plug(t, port, "switch")
		netnstest.Cable(t, n.pod, "eth0", n.host, "cali0")
		gateway := netip.AddrFrom4([4]byte{192, 168, byte(i), 1})
		n.run(t, func() {
			netnstest.SetAddress(t, "eth0", netip.PrefixFrom(n.Address, 16))
			netnstest.SetAddress(t, "cali0", netip.PrefixFrom(gateway, 24))
			count(t)
		})
		n.pod.Run(t, func() {
			netnstest.SetAddress(t, "eth0", netip.PrefixFrom(n.pod.Address, 24))
			require.NoError(t, netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}))
		})
		c.nodes = append(c.nodes, n)
	}
	return c
}

// program is what the agent of each node does.
func (c *cluster) program(plane vxlan.DataPlane) {
	c.t.Helper()
	for _, self := range c.nodes {
		var others []vxlan.Node
		for _, other := range c.nodes {
			if other != self {
				others = append(others, other.Node)
			}
		}
		self.run(c.t, func() { require.NoError(c.t, plane.Program(self.Node, others)) })
	}
}

// setAddress gives the node another address of its own.
func (n *node) setAddress(t *testing.T, to netip.Addr) {
	n.run(t, func() {
		eth0, err := netlink.LinkByName("eth0")
		require.NoError(t, err)
		require.NoError(t, netlink.AddrDel(eth0, &netlink.Addr{IPNet: netnstest.Network(n.Address.String() + "/16")}))
		netnstest.SetAddress(t, "eth0", netip.PrefixFrom(to, 16))
	})
	n.Address, n.host.Address = to, to
}

// count lets the node count what comes to it for UDP 4789, in a table of the test's own.
func count(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	require.NoError(t, err)
	table := conn.AddTable(&nftables.Table{Name: "test", Family: nftables.TableFamilyIPv4})
	chain := conn.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(vxlan.Port)},
		&expr.Counter{},
	}})
	require.NoError(t, conn.Flush())
}

// encapsulated is how many packets the node has got for UDP 4789.
func (n *node) encapsulated(t *testing.T) (packets uint64) {
	t.Helper()
	n.run(t, func() {
		conn, err := nftables.New()
		require.NoError(t, err)
		table := &nftables.Table{Name: "test", Family: nftables.TableFamilyIPv4}
		rules, err := conn.GetRules(table, &nftables.Chain{Name: "input", Table: table})
		require.NoError(t, err)
		require.Len(t, rules, 1)
		for _, e := range rules[0].Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				packets = counter.Packets
			}
		}
	})
	return packets
}
