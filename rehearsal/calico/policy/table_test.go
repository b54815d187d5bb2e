package policy_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/calico/netnstest"
	"eco2/rehearsal/calico/policy"
	"eco2/rehearsal/calico/sysctl"
)

// What passes and what does not, as "from to:port", when namespace web has one policy.
func TestPacketsAreJudged(t *testing.T) {
	l := newLab(t)
	for name, test := range map[string]struct{ spec, passes, not string }{
		"no policy": {
			passes: "front back:8080, cache front:8080, db front:8080, front db:8080, world front:8080, front world:8080, front node:8080, front imds:8080, node front:8080",
		},
		"closed inwards": {
			spec:   `{podSelector: {}, policyTypes: [Ingress]}`,
			passes: "node front:8080, front world:8080, front node:8080, front db:8080, front cache:8080, db cache:8080",
			not:    "back front:8080, cache front:8080, db front:8080, world front:8080",
		},
		"closed outwards": {
			spec:   `{podSelector: {}, policyTypes: [Egress]}`,
			passes: "node front:8080, cache front:8080, db front:8080, world front:8080, cache world:8080",
			not:    "front back:8080, front cache:8080, front db:8080, front world:8080, front node:8080, front imds:8080",
		},
		"one pod closed": {
			spec:   `{podSelector: {matchLabels: {app: back}}}`,
			passes: "back front:8080, db front:8080",
			not:    "front back:8080, db back:8080",
		},
		"from pods of the namespace": {
			spec:   `{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`,
			passes: "front back:8080, back front:9090",
			// The world has the address of a pod of web, which is on its node's network.
			not: "cache front:8080, db front:8080, world front:8080",
		},
		"from a namespace, at a port": {
			spec:   `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}], ports: [{port: 8080}]}]}`,
			passes: "cache front:8080, db front:8080",
			not:    "cache front:9090, db front:9090, back front:8080, world front:8080",
		},
		"from anywhere, at a port": {
			spec:   `{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}`,
			passes: "cache front:8080, db front:8080, back front:8080, world front:8080",
			not:    "cache front:9090, db front:9090, back front:9090, world front:9090",
		},
		"from a block": {
			spec:   `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/16}}]}]}`,
			passes: "world front:8080",
			not:    "db front:8080, back front:8080",
		},
		"to the internet without the metadata service": {
			spec:   `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}], ports: [{port: 8080}]}]}`,
			passes: "front world:8080, front db:8080, front node:8080",
			not:    "front imds:8080, front world:9090",
		},
		"to the metadata service alone": {
			spec:   `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 169.254.169.254/32}}], ports: [{port: 8080}]}]}`,
			passes: "front imds:8080, cache imds:9090",
			not:    "front world:8080, front imds:9090",
		},
		"to pods of a namespace": {
			spec:   `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]}]}`,
			passes: "front cache:8080, front db:9090",
			not:    "front back:8080, front world:8080, front node:8080",
		},
		"a range of ports": {
			spec:   `{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 9000}]}]}`,
			passes: "db front:8080",
			not:    "db front:9090",
		},
		"ports by name, inwards": {
			spec:   `{podSelector: {}, ingress: [{ports: [{port: http}]}]}`,
			passes: "db front:8080",
			not:    "db front:9090",
		},
		"ports by name, outwards": {
			spec:   `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: http}]}]}`,
			passes: "front back:8080, front cache:9090, front db:9090",
			not:    "front back:9090, front cache:8080, front db:8080",
		},
		"another protocol": {
			spec: `{podSelector: {}, ingress: [{ports: [{port: 8080, protocol: UDP}]}]}`,
			not:  "db front:8080, back front:8080",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster()
			if test.spec != "" {
				c = with(t, c, test.spec)
			}
			l.enforce(t, c)
			l.passes(t, test.passes)
			l.blocked(t, test.not)
		})
	}
}

func TestUDPIsJudged(t *testing.T) {
	l := newLab(t)
	answered := func(limit time.Duration) bool { return l.echoed(t, "front", "db", limit) }
	l.enforce(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53, protocol: UDP}]}]}`))
	assert.True(t, answered(patience))
	l.enforce(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 53}]}]}`))
	assert.False(t, answered(impatience), "TCP is another protocol")
}

func TestAPodThatIsNotKnownYetIsClosed(t *testing.T) {
	l := newLab(t)
	c := cluster()
	c.Pods = c.Pods[1:]
	l.enforce(t, c)
	l.passes(t, "node front:8080, back cache:8080")
	l.blocked(t, "front back:8080, back front:8080, front world:8080, db front:8080")
}

func TestWhatIsOpenStaysOpen(t *testing.T) {
	l := newLab(t)
	l.enforce(t, cluster())
	local, remote := l.connect(t, "front", "back"), l.connect(t, "front", "db")
	l.enforce(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Ingress, Egress]}`))
	l.blocked(t, "front back:8080, front db:8080")
	for _, conn := range []net.Conn{local, remote} {
		_, err := conn.Write([]byte("still there?"))
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 64))
		assert.NoError(t, err)
	}
}

// A Service's own address is not what policies are about.
func TestAServiceIsJudgedByWhereItLeads(t *testing.T) {
	l := newLab(t)
	service := netip.MustParseAddr("10.96.0.10")
	for _, backend := range []string{"back", "db"} {
		l.node.Run(t, func() { translate(t, service, l.places[backend].Address) })
		l.places["service"] = l.places[backend].At(service)
		l.enforce(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: `+
			l.places[backend].Address.String()+`/32}}], ports: [{port: 8080}]}]}`))
		l.passes(t, "front service:8080")
		l.enforce(t, with(t, cluster(), `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}`))
		l.blocked(t, "front service:8080")
	}
}

func TestRulesAreReplaced(t *testing.T) {
	l := newLab(t)
	l.enforce(t, with(t, cluster(), `{podSelector: {}}`))
	l.node.Run(t, func() {
		conn, err := nftables.New()
		require.NoError(t, err)
		conn.DelTable(&nftables.Table{Name: policy.Table, Family: nftables.TableFamilyIPv4})
		require.NoError(t, conn.Flush())
	})
	l.passes(t, "db front:8080")
	for range 2 {
		l.enforce(t, with(t, cluster(), `{podSelector: {}}`))
		l.blocked(t, "db front:8080")
	}
	l.enforce(t, cluster())
	l.passes(t, "db front:8080")
}

// A hundred namespaces, each with a policy and pods of its own on the node.
func TestManyRulesAreProgrammedAtOnce(t *testing.T) {
	l := newLab(t)
	c := with(t, cluster(), `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 1}, {port: 2}, {port: 3}, {port: 4}]}]}`)
	for i := range 100 {
		name := fmt.Sprintf("namespace-%d", i)
		c.Namespaces = append(c.Namespaces, namespace(name))
		c.Pods = append(c.Pods, pod(name, "one", fmt.Sprintf("192.168.0.%d", 100+i), 80), pod(name, "other", fmt.Sprintf("192.168.2.%d", i), 80))
		own := c.Policies[0].DeepCopy()
		own.Namespace = name
		c.Policies = append(c.Policies, own)
	}
	l.enforce(t, c)
	l.passes(t, "front world:8080")
	l.blocked(t, "db front:8080")
}

// How long a packet that may pass is waited for, and one that may not.
const (
	patience   = 10 * time.Second
	impatience = 200 * time.Millisecond
)

// lab is a node with the pods of cluster: three on its bridge, and db and the world behind devices of its own.
// Each listens at 8080 and 9090, and so do the node and, in the world, the metadata service.
type lab struct {
	node   netnstest.Place
	places map[string]netnstest.Place
}

func newLab(t *testing.T) *lab {
	t.Helper()
	at := netip.MustParseAddr
	l := &lab{node: netnstest.New(t, at("10.0.0.1")), places: map[string]netnstest.Place{}}
	l.node.Run(t, func() {
		netnstest.Bridge(t, "cni0")
		netnstest.SetAddress(t, "cni0", netip.MustParsePrefix("192.168.0.1/24"))
	})
	for name, address := range map[string]string{"front": "192.168.0.10", "back": "192.168.0.11", "cache": "192.168.0.12"} {
		l.attach(t, name, netip.PrefixFrom(at(address), 24), at("192.168.0.1"))
		l.node.Plug(t, name, "cni0")
	}
	l.attach(t, "db", netip.MustParsePrefix("192.168.1.5/24"), at("192.168.1.1"))
	l.attach(t, "world", netip.MustParsePrefix("10.0.0.2/16"), at("10.0.0.1"))
	l.node.Run(t, func() {
		netnstest.SetAddress(t, "db", netip.MustParsePrefix("192.168.1.1/24"))
		netnstest.SetAddress(t, "world", netip.MustParsePrefix("10.0.0.1/16"))
		require.NoError(t, netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 0, 0, 2)}))
		require.NoError(t, sysctl.Set("net/ipv4/ip_forward", "1"))
	})
	imds := at("169.254.169.254")
	l.places["world"].Run(t, func() { netnstest.SetAddress(t, "eth0", netip.PrefixFrom(imds, 32)) })
	l.places["imds"], l.places["node"] = l.places["world"].At(imds), l.node
	for _, place := range l.places {
		netnstest.Listen(t, place, 8080)
		netnstest.Listen(t, place, 9090)
	}
	return l
}

// attach makes a place with a device, and the node's end of its cable is called like the place.
func (l *lab) attach(t *testing.T, name string, address netip.Prefix, gateway netip.Addr) {
	t.Helper()
	place := netnstest.New(t, address.Addr())
	netnstest.Cable(t, place, "eth0", l.node, name)
	place.Run(t, func() {
		netnstest.SetAddress(t, "eth0", address)
		require.NoError(t, netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()}))
	})
	l.places[name] = place
}

// enforce is what the agent of the node does.
func (l *lab) enforce(t *testing.T, c policy.Cluster) {
	t.Helper()
	rules := compiled(t, c)
	l.node.Run(t, func() { require.NoError(t, rules.Program()) })
}

func (l *lab) passes(t *testing.T, pairs string) {
	t.Helper()
	for _, pair := range split(pairs) {
		assert.NoError(t, l.try(t, pair, patience), pair)
	}
}

// blocked wants no answer at all.
func (l *lab) blocked(t *testing.T, pairs string) {
	t.Helper()
	for _, pair := range split(pairs) {
		assert.ErrorIs(t, l.try(t, pair, impatience), unix.EINPROGRESS, pair)
	}
}

func split(pairs string) []string {
	return strings.FieldsFunc(pairs, func(r rune) bool { return r == ',' })
}

// try makes a connection "from to:port".
func (l *lab) try(t *testing.T, pair string, limit time.Duration) (err error) {
	t.Helper()
	from, target, _ := strings.Cut(strings.TrimSpace(pair), " ")
	to, text, _ := strings.Cut(target, ":")
	require.Contains(t, l.places, from)
	require.Contains(t, l.places, to)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	l.places[from].Run(t, func() {
		var conn net.Conn
		if conn, err = netnstest.Dial(&net.TCPAddr{IP: l.places[to].Address.AsSlice(), Port: port}, limit); err == nil {
			err = conn.Close()
		}
	})
	return err
}

// connect opens a connection to 8080, over which something was said.
func (l *lab) connect(t *testing.T, from, to string) (conn net.Conn) {
	t.Helper()
	l.places[from].Run(t, func() {
		var err error
		conn, err = netnstest.Dial(&net.TCPAddr{IP: l.places[to].Address.AsSlice(), Port: 8080}, patience)
		require.NoError(t, err)
	})
	t.Cleanup(func() { _ = conn.Close() })
	_, err := conn.Read(make([]byte, 64))
	require.NoError(t, err)
	return conn
}

// echoed sends a datagram to port 53 and waits for it to come back.
func (l *lab) echoed(t *testing.T, from, to string, limit time.Duration) bool {
	t.Helper()
	socket := func(name string, port uint16) (conn net.PacketConn) {
		l.places[name].Run(t, func() {
			var err error
			conn, err = net.ListenPacket("udp4", netip.AddrPortFrom(l.places[name].Address, port).String())
			require.NoError(t, err)
		})
		return conn
	}
	client, server := socket(from, 0), socket(to, 53)
	defer func() { assert.NoError(t, errors.Join(client.Close(), server.Close())) }()
	go func() {
		text := make([]byte, 64)
		if n, sender, err := server.ReadFrom(text); err == nil {
			_, _ = server.WriteTo(text[:n], sender) // the client sees whether it arrived
		}
	}()
	_, err := client.WriteTo([]byte("hello"), server.LocalAddr())
	require.NoError(t, err)
	require.NoError(t, client.SetDeadline(time.Now().Add(limit)))
	_, _, err = client.ReadFrom(make([]byte, 64))
	return err == nil
}

// translate leads a Service's address to a pod, as kube-proxy does, in a table of the test's own.
func translate(t *testing.T, service, pod netip.Addr) {
	t.Helper()
	conn, err := nftables.New()
	require.NoError(t, err)
	table := &nftables.Table{Name: "test", Family: nftables.TableFamilyIPv4}
	conn.DelTable(conn.AddTable(table))
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: service.AsSlice()},
		&expr.Immediate{Register: 1, Data: pod.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	require.NoError(t, conn.Flush())
}
