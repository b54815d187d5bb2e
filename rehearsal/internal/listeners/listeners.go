// Package listeners lets a test see whether anything begins to listen on this host where other hosts could reach it.
package listeners

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Listener is a socket that accepts packets from anybody who reaches its address.
type Listener struct {
	// Protocol is tcp, tcp6, udp or udp6.
	Protocol string
	Address  netip.AddrPort
}

func (l Listener) String() string { return l.Protocol + " " + l.Address.String() }

// lookEvery is the time between two looks at the host's listeners.
const lookEvery = 500 * time.Millisecond

// Watch makes a test fail if this host's network namespace gets a listener during the test, except on a loopback
// address or in one of the networks. A listener counts if it exists in two looks in a row: the sockets of single
// requests do not. Listeners of other programs on this host count, too.
func Watch(t testing.TB, networks ...netip.Prefix) {
	t.Helper()
	watch(t, "/proc/net", networks)
}

func watch(t testing.TB, dir string, networks []netip.Prefix) {
	t.Helper()
	before, err := all(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		reported, last := before, before
		for {
			select {
			case <-stop:
				return
			case <-time.After(lookEvery):
			}
			now, err := all(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for _, l := range now {
				if exposed(l, networks) && slices.Contains(last, l) && !slices.Contains(reported, l) {
					t.Errorf("%s: this host listens where others can reach it, and did not before the test", l)
					reported = append(reported, l)
				}
			}
			last = now
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

// exposed reports whether others may reach a listener: it is neither on a loopback address nor in one of the networks.
func exposed(l Listener, networks []netip.Prefix) bool {
	address := l.Address.Addr().Unmap()
	return !address.IsLoopback() && !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// The kernel's states of a TCP socket that listens, and of a UDP socket that is not connected.
const (
	tcpListen = "0A"
	udpOpen   = "07"
)

// all returns the listeners in the tables of a directory like /proc/net.
func all(dir string) (list []Listener, err error) {
	for protocol, state := range map[string]string{"tcp": tcpListen, "tcp6": tcpListen, "udp": udpOpen, "udp6": udpOpen} {
		table, err := os.ReadFile(filepath.Join(dir, protocol))
		if os.IsNotExist(err) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing the host's listeners: %w", err)
		}
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != state {
				continue
			}
			address, err := parse(fields[1])
			if err != nil {
				return nil, fmt.Errorf("listing the host's listeners: %w", err)
			}
			list = append(list, Listener{protocol, address})
		}
	}
	return list, nil
}

// parse parses an address of the kernel's tables, such as 0100007F:0050: each 32 bits of it are printed as a number in
// the processor's byte order.
func parse(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	data, err := hex.DecodeString(host)
	if err == nil && len(data)%4 != 0 {
		err = hex.ErrLength
	}
	number, portErr := strconv.ParseUint(port, 16, 16)
	if err != nil || portErr != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of a socket", text)
	}
	for i := 0; i < len(data); i += 4 {
		binary.NativeEndian.PutUint32(data[i:], binary.BigEndian.Uint32(data[i:]))
	}
	address, ok := netip.AddrFromSlice(data)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of a socket", text)
	}
	return netip.AddrPortFrom(address, uint16(number)), nil
}
