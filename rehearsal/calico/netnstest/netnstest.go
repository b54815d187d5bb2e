// Package netnstest has network namespaces for tests: places that are cabled to each other, with sockets
// and devices of their own. It needs root.
package netnstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/needs"
)

// Place is a network namespace, with the address it is known by.
type Place struct {
	Address netip.Addr
	ns      netns.NsHandle
}

// New makes a place, which ends with the test. Without root the test is skipped.
func New(t *testing.T, address netip.Addr) Place {
	t.Helper()
	needs.Root(t, "make network namespaces")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := netns.Get()
	require.NoError(t, err)
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = ns.Close() }) // it ends with its last handle
	Up(t, "lo")
	require.NoError(t, errors.Join(netns.Set(back), back.Close()))
	return Place{address, ns}
}

// At is the same place, known by another of its addresses.
func (p Place) At(address netip.Addr) Place { return Place{address, p.ns} }

// Run calls do in the place. What do starts as goroutines is elsewhere.
func (p Place) Run(t *testing.T, do func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	back, err := netns.Get()
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(netns.Set(back), back.Close())) }()
	require.NoError(t, netns.Set(p.ns))
	do()
}

// Cable connects two places by a pair of devices, which are up.
func Cable(t *testing.T, a Place, nameInA string, b Place, nameInB string) {
	t.Helper()
	a.Run(t, func() {
		attributes := netlink.LinkAttrs{Name: nameInA, MTU: 1500}
		require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: nameInB, PeerNamespace: netlink.NsFd(b.ns)}))
		Up(t, nameInA)
	})
	b.Run(t, func() { Up(t, nameInB) })
}

// Plug makes a device of the place a port of its bridge.
func (p Place) Plug(t *testing.T, device, bridge string) {
	t.Helper()
	p.Run(t, func() {
		link, err := netlink.LinkByName(device)
		require.NoError(t, err)
		to, err := netlink.LinkByName(bridge)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetMaster(link, to))
	})
}

// Bridge makes one here, which is up.
func Bridge(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}}))
	Up(t, name)
}

// Up turns a device on that is here.
func Up(t *testing.T, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(link))
}

// SetAddress gives a device that is here one address more.
func SetAddress(t *testing.T, device string, a netip.Prefix) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: Network(a.String())}))
}

// Network reads an IPv4 network, with the address in it kept.
func Network(text string) *net.IPNet {
	p := netip.MustParsePrefix(text)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// Ask connects from one place to another, which answers with the address that it was asked from.
func Ask(t *testing.T, from, to Place) string {
	t.Helper()
	address := Listen(t, to, 0)
	var answer string
	from.Run(t, func() {
		// As one packet a handshake may be lost where a device has just come up; it is sent again after 1 s.
		conn, err := Dial(address, 5*time.Second)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		text := make([]byte, 64)
		n, err := conn.Read(text)
		assert.NoError(t, err)
		answer = string(text[:n])
	})
	return answer
}

// Listen answers connections to the place's address with the one that they came from, and goes on as long as
// somebody sends. Port 0 is any that is free.
func Listen(t *testing.T, at Place, port uint16) *net.TCPAddr {
	t.Helper()
	var server net.Listener
	at.Run(t, func() {
		var err error
		server, err = net.Listen("tcp4", netip.AddrPortFrom(at.Address, port).String())
		require.NoError(t, err)
	})
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return // the test has ended
			}
			go answer(conn)
		}
	}()
	return server.Addr().(*net.TCPAddr)
}

// answer gives up when the other side, which sees what arrived, does.
func answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	for request := make([]byte, 64); ; {
		if _, err := conn.Write([]byte(host)); err != nil {
			return
		}
		if _, err := conn.Read(request); err != nil {
			return
		}
	}
}

// Dial opens the socket on this thread: net.Dial may use another, which is in another namespace.
func Dial(to *net.TCPAddr, limit time.Duration) (net.Conn, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(socket), "")
	defer func() { _ = file.Close() }() // FileConn has a duplicate
	patience := unix.NsecToTimeval(limit.Nanoseconds())
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		return nil, err
	}
	if err := unix.Connect(socket, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", to, err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(limit))
}
