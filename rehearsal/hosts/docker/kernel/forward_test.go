package kernel

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/netspace"
)

// Two networks of a host do not reach each other through it, with the kernel's forwarding and the real iptables. The
// host is a network namespace, so this one's own settings stay as they are.
func TestNetworksDoNotReachEachOtherThroughTheHost(t *testing.T) {
	needs.Root(t, "create network namespaces")
	require.NoError(t, netspace.InNew(func() {
		run(t, "ip link set lo up")
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o600))
		a, b := attach(t, "198.18.10"), attach(t, "198.18.11")
		reaches := func() bool {
			listener, err := netspace.In(b, func() (net.Listener, error) { return net.Listen("tcp4", "198.18.11.2:7") })
			require.NoError(t, err)
			defer func() { _ = listener.Close() }() // nothing was written
			_, err = netspace.In(a, func() (net.Listener, error) {
				conn, err := net.DialTimeout("tcp4", "198.18.11.2:7", time.Second)
				if err != nil {
					return nil, err
				}
				return nil, conn.Close()
			})
			return err == nil
		}
		h := New(&strings.Builder{})
		h.dir = t.TempDir()
		r := &record{}
		assert.False(t, reaches(), "the kernel does not forward")
		require.NoError(t, h.forward(t.Context(), r, Engine{}))
		forwards, err := h.read(forwarding)
		require.NoError(t, err)
		assert.Equal(t, 1, forwards)
		assert.False(t, reaches(), "the kernel forwards, and iptables drops the packets")
		require.NoError(t, h.setPolicy(t.Context(), accept))
		assert.True(t, reaches(), "or this test sees nothing")

		require.NoError(t, h.save(r))
		require.NoError(t, h.PutBack(t.Context()))
		forwards, err = h.read(forwarding)
		require.NoError(t, err)
		assert.Equal(t, 0, forwards)
		assert.False(t, reaches())
		policy, err := h.policy(t.Context())
		require.NoError(t, err)
		assert.Equal(t, accept, policy)
	}))
}

// attach creates a network namespace at .2 of a network, whose router is the present namespace at .1.
func attach(t *testing.T, network string) netns.NsHandle {
	t.Helper()
	here, err := netns.Get()
	require.NoError(t, err)
	defer func() { _ = here.Close() }() // the thread is in it
	space, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { _ = space.Close() })
	require.NoError(t, netns.Set(here))
	device := "veth-" + network[strings.LastIndex(network, ".")+1:]
	run(t, fmt.Sprintf("ip link add %s type veth peer name eth0 netns /proc/%d/fd/%d", device, os.Getpid(), int(space)))
	run(t, "ip address add "+network+".1/24 dev "+device)
	run(t, "ip link set "+device+" up")
	require.NoError(t, netns.Set(space))
	run(t, "ip address add "+network+".2/24 dev eth0")
	run(t, "ip link set eth0 up")
	run(t, "ip route add default via "+network+".1")
	require.NoError(t, netns.Set(here))
	return space
}

func run(t *testing.T, line string) {
	t.Helper()
	args := strings.Fields(line)
	output, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s\n%s", line, output)
}
