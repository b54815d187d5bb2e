package docker

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"eco2/rehearsal/hosts/docker/kernel"
	"eco2/rehearsal/internal/netspace"
)

// This host does not forward packets between two networks that have nothing to do with Docker, unless it did so before
// the rehearsal.
func TestThisHostDoesNotBecomeARouter(t *testing.T) {
	newLab(t)
	var record struct{ Routed bool }
	data, err := os.ReadFile(kernel.RecordFile)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &record))

	from, to := probeNetwork(t, "10"), probeNetwork(t, "11")
	const address = "198.18.11.2:7"
	listener := within(t, to, func() (net.Listener, error) { return net.Listen("tcp4", address) })
	t.Cleanup(func() { _ = listener.Close() }) // nothing was written
	dial := func() (reached bool, err error) {
		conn, err := net.DialTimeout("tcp4", address, 2*time.Second)
		if err != nil {
			return false, nil //nolint:nilerr // the packets are dropped
		}
		return true, conn.Close()
	}
	reached, err := dial()
	require.NoError(t, err)
	require.True(t, reached, "this host itself reaches each of the networks")
	if reached = within(t, from, dial); !record.Routed {
		assert.False(t, reached, "a rehearsal has made this host a router")
	}
}

// A clean does not change the settings of a host on which other rehearsals have machines.
func TestCleanLeavesTheSettingsOfOtherRehearsals(t *testing.T) {
	l := newLab(t)
	var out strings.Builder
	require.NoError(t, Clean(t.Context(), &out, t.TempDir()))
	assert.Regexp(t, "^leaving this host's kernel settings as they are: there are machines of .*"+regexp.QuoteMeta(l.driver.stateDir), out.String())
	panics, err := os.ReadFile("/proc/sys/kernel/panic")
	require.NoError(t, err)
	assert.Equal(t, "10\n", string(panics))

	out.Reset()
	require.NoError(t, Clean(t.Context(), &out, l.driver.stateDir))
	assert.Contains(t, out.String(), "removing 1 containers and 1 networks of "+l.driver.stateDir)
	assert.Contains(t, out.String(), "\nleaving this host's kernel settings as they are: ", "this process uses them, if nothing else does")
}

// probeNetwork creates a network namespace at 198.18.NUMBER.2, whose router this host is at .1, and returns its name.
func probeNetwork(t *testing.T, number string) string {
	t.Helper()
	name := "eco2-probe-" + number
	ip := func(line string) error {
		output, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			t.Logf("ip %s: %s", line, output)
		}
		return err
	}
	_ = exec.CommandContext(t.Context(), "ip", "netns", "delete", name).Run() // of a test that was killed
	require.NoError(t, ip("netns add "+name))
	// Its device goes with it, and the other end of that, too.
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	for _, line := range []string{
		"link add " + name + " type veth peer name eth0 netns " + name,
		"address add 198.18." + number + ".1/24 dev " + name,
		"link set " + name + " up",
		"-n " + name + " address add 198.18." + number + ".2/24 dev eth0",
		"-n " + name + " link set eth0 up",
		"-n " + name + " route add default via 198.18." + number + ".1",
	} {
		require.NoError(t, ip(line))
	}
	return name
}

// within calls a function in a named network namespace.
func within[T any](t *testing.T, name string, do func() (T, error)) (result T) {
	t.Helper()
	space, err := netns.GetFromName(name)
	require.NoError(t, err)
	defer func() { _ = space.Close() }() // it is only read
	result, err = netspace.In(space, do)
	require.NoError(t, err)
	return result
}
