package listeners

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tables is a directory like /proc/net.
type tables struct {
	*testing.T
	dir string
}

func (t tables) write(name, lines string) {
	t.Helper()
	const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	path := filepath.Join(t.dir, name)
	require.NoError(t, os.WriteFile(path+".new", []byte(header+lines), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestTables(t *testing.T) {
	dir := t.TempDir()
	table := tables{t, dir}.write
	table("tcp", "   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n   1: 0100007F:0050 0100007F:9C40 01 00000000:00000000\n")
	table("tcp6", "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000\n")
	table("udp", "   7: 0A00404A:0035 00000000:0000 07 00000000:00000000\n   8: 0A00404A:0036 0100007F:0035 01 00000000:00000000\n")
	list, err := all(dir)
	require.NoError(t, err)
	var texts []string
	for _, l := range list {
		texts = append(texts, l.String())
	}
	assert.ElementsMatch(t, []string{"tcp 0.0.0.0:22", "tcp6 [::1]:8080", "udp 74.64.0.10:53"}, texts)

	table("udp", "   7: 0A00:0035 00000000:0000 07 00000000:00000000\n")
	_, err = all(dir)
	assert.ErrorContains(t, err, `"0A00:0035" is no address of a socket`)
}

func TestExposed(t *testing.T) {
	vpc := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}
	for address, want := range map[string]bool{
		"127.0.0.1:1": false, "127.77.0.4:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false, "10.77.0.1:1": false,
		"0.0.0.0:1": true, "[::]:1": true, "10.78.0.1:1": true, "192.168.1.5:1": true, "[fe80::1]:1": true,
	} {
		assert.Equal(t, want, exposed(Listener{"tcp", netip.MustParseAddrPort(address)}, vpc), address)
	}
}

// recorder is a test whose errors are recorded.
type recorder struct {
	testing.TB
	mu      sync.Mutex
	errors  []string
	cleanup func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) { r.cleanup = f }

func TestWatch(t *testing.T) {
	kernel := tables{t, t.TempDir()}
	const before = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n"
	kernel.write("tcp", before)
	r := &recorder{TB: t}
	watch(r, kernel.dir, []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")})
	kernel.write("tcp", before+"   1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n   2: 0100007F:0050 00000000:0000 0A 00000000:00000000\n"+
		"   3: 01004D0A:0050 00000000:0000 0A 00000000:00000000\n")
	time.Sleep(5 * lookEvery)
	r.cleanup()
	assert.Equal(t, []string{"tcp 0.0.0.0:8080: this host listens where others can reach it, and did not before the test"}, r.errors)
}
