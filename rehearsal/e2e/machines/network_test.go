package machines

import (
	"encoding/json"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// network checks that Calico runs as the program's kustomization configures it: VXLAN between all nodes, and neither
// BGP nor Typha.
func (c *cluster) network(t *testing.T) {
	t.Run("the pool is always encapsulated", func(t *testing.T) {
		var pools struct {
			Items []struct {
				Spec struct{ CIDR, VXLANMode, IPIPMode string }
			}
		}
		require.NoError(t, json.Unmarshal([]byte(c.kubectl("get", "ippools.crd.projectcalico.org", "--output=json")), &pools))
		require.Len(t, pools.Items, 1)
		assert.Equal(t, "192.168.0.0/16", pools.Items[0].Spec.CIDR)
		assert.Equal(t, "Always", pools.Items[0].Spec.VXLANMode)
		assert.Equal(t, "Never", pools.Items[0].Spec.IPIPMode)
	})

	t.Run("no node listens for BGP or Typha", func(t *testing.T) {
		for node, machine := range c.machines() {
			out, err := exec.CommandContext(t.Context(), "docker", "exec", machine.Container, "ss", "--listening", "--tcp", "--numeric", "--no-header").CombinedOutput()
			require.NoError(t, err, string(out))
			require.Contains(t, string(out), ":10250", "%s: the kubelet listens", node)
			for _, port := range []string{"179", "5473"} {
				assert.NotRegexp(t, `:`+port+`\s`, string(out), node)
			}
		}
	})

	t.Run("packets between nodes are encapsulated", func(t *testing.T) {
		const from, to = "k8s-redis", "k8s-postgresql"
		sender, receiver := c.probes()[from], c.probes()[to]
		frames := c.capture(t, to, func() {
			assert.Contains(t, c.kubectl("exec", sender.Metadata.Name, "--", "/probe", "ask", receiver.Status.PodIP), to)
		})
		want := packet{
			from: netip.MustParseAddr(c.machines()[from].PrivateIP), to: netip.MustParseAddr(c.machines()[to].PrivateIP),
			innerFrom: netip.MustParseAddr(sender.Status.PodIP), innerTo: netip.MustParseAddr(receiver.Status.PodIP),
		}
		assert.Contains(t, frames, want)
		pool := netip.MustParsePrefix("192.168.0.0/16")
		for _, p := range frames {
			assert.False(t, pool.Contains(p.from) || pool.Contains(p.to), "not encapsulated: %v", p)
		}
	})
}

// packet holds the addresses of a packet on the wire, and of the packet that it contains if it is a VXLAN packet.
type packet struct{ from, to, innerFrom, innerTo netip.Addr }

// vxlanPort is the UDP port that IANA assigned to VXLAN.
const vxlanPort = 4789

// parsePacket parses an IPv4 packet. ok is false if the data is none.
func parsePacket(data []byte) (p packet, ok bool) {
	header, err := ipv4.ParseHeader(data)
	if err != nil || header.Version != ipv4.Version || len(data) < header.Len+8 {
		return packet{}, false
	}
	address := func(ip net.IP) netip.Addr { a, _ := netip.AddrFromSlice(ip.To4()); return a }
	p = packet{from: address(header.Src), to: address(header.Dst)}
	udp := data[header.Len:]
	// The headers of UDP, VXLAN and Ethernet have 8, 8 and 14 bytes.
	const around = 8 + 8 + 14
	if header.Protocol == unix.IPPROTO_UDP && int(udp[2])<<8|int(udp[3]) == vxlanPort && len(udp) > around {
		if inner, err := ipv4.ParseHeader(udp[around:]); err == nil && inner.Version == ipv4.Version {
			p.innerFrom, p.innerTo = address(inner.Src), address(inner.Dst)
		}
	}
	return p, true
}

// capture returns the IPv4 packets that a node's machine received from its network while meanwhile ran.
func (c *cluster) capture(t *testing.T, node string, meanwhile func()) []packet {
	t.Helper()
	socket := openCapture(t, c.pid(t, node))
	meanwhile()
	var packets []packet
	buffer := make([]byte, 1<<16)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		n, _, err := unix.Recvfrom(socket, buffer, 0)
		if err != nil { // no further packet before the timeout
			break
		}
		if p, ok := parsePacket(buffer[:n]); ok {
			packets = append(packets, p)
		}
	}
	return packets
}

// openCapture opens a socket that receives every IPv4 packet of eth0 in the network namespace of a process.
func openCapture(t *testing.T, pid int) int {
	t.Helper()
	socket, err := inNetworkOf(pid, func() (int, error) {
		device, err := net.InterfaceByName("eth0")
		if err != nil {
			return 0, err
		}
		const network = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network byte order
		socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, network)
		if err != nil {
			return 0, err
		}
		patience := unix.NsecToTimeval((500 * time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
			return 0, err
		}
		return socket, unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: network, Ifindex: device.Index})
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Close(socket)) })
	return socket
}
