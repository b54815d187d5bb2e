package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake is a host whose /proc is a directory, and whose programs are functions.
type fake struct {
	*testing.T
	Host
	policyNow string
	// inUse are the modules that cannot be unloaded.
	inUse map[string]bool
	log   strings.Builder
}

// newFake returns a host as Debian 12 boots on two cores.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{T: t, policyNow: accept}
	f.Host = Host{proc: t.TempDir(), modules: t.TempDir(), dir: filepath.Join(t.TempDir(), "eco2"), command: f.run, out: &f.log}
	for key, value := range map[string]int{
		"fs.inotify.max_user_instances": 128, "fs.inotify.max_user_watches": 65536, "net.netfilter.nf_conntrack_max": 262144,
		"vm.overcommit_memory": 0, "vm.panic_on_oom": 0, "kernel.panic": 0, "kernel.panic_on_oops": 0,
		"kernel.keys.root_maxkeys": 1_000_000, "kernel.keys.root_maxbytes": 25_000_000, forwarding: 0,
	} {
		f.set(key, value)
	}
	f.file("sys/kernel/osrelease", "6.1.0-42-amd64\n")
	f.file("sys/kernel/random/boot_id", "first\n")
	f.file("modules", "overlay 1 0 - Live 0x0\n")
	require.NoError(t, os.Mkdir(filepath.Join(f.modules, "6.1.0-42-amd64"), 0o755))
	return f
}

func (f *fake) file(name, text string) {
	f.Helper()
	path := filepath.Join(f.proc, name)
	require.NoError(f, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f, os.WriteFile(path, []byte(text), 0o600))
}

func (f *fake) set(key string, value int) {
	f.Helper()
	f.file("sys/"+strings.ReplaceAll(key, ".", "/"), strconv.Itoa(value)+"\n")
}

func (f *fake) value(key string) int {
	f.Helper()
	value, err := f.read(key)
	require.NoError(f, err)
	return value
}

func (f *fake) run(_ context.Context, name string, args ...string) (string, error) {
	line := name + " " + strings.Join(args, " ")
	switch {
	case line == "iptables --wait --list-rules FORWARD":
		return "-P FORWARD " + f.policyNow + "\n-A FORWARD -j DOCKER-USER\n", nil
	case strings.HasPrefix(line, "iptables --wait --policy FORWARD "):
		f.policyNow = args[len(args)-1]
	case strings.HasPrefix(line, "modprobe --all "):
		var list strings.Builder
		for _, name := range args[1:] {
			fmt.Fprintf(&list, "%s 1 0 - Live 0x0\n", name)
		}
		f.file("modules", list.String())
	case strings.HasPrefix(line, "modprobe --remove "):
		if f.inUse[args[1]] {
			return "", errors.New("it is in use")
		}
	default:
		f.Errorf("unexpected: %s", line)
	}
	return "", nil
}

// docker turns forwarding on as Docker does when it starts, and restricts it.
func (f *fake) docker() {
	f.Helper()
	if f.value(forwarding) == 0 {
		f.set(forwarding, 1)
		f.policyNow = drop
	}
}

// setUp does what `make up` does, and returns what it prints.
func (f *fake) setUp(engine Engine) string {
	f.Helper()
	f.log.Reset()
	require.NoError(f, f.Begin())
	require.NoError(f, f.LoadModules(f.Context()))
	if !engine.Nftables {
		f.docker()
	}
	require.NoError(f, f.Set(f.Context(), engine))
	return f.log.String()
}

func (f *fake) putBack() string {
	f.Helper()
	f.log.Reset()
	require.NoError(f, f.PutBack(f.Context()))
	return f.log.String()
}

func TestWhatWasChangedIsPutBack(t *testing.T) {
	f := newFake(t)
	f.inUse = map[string]bool{"nf_tables": true}
	assert.Equal(t, `loaded kernel modules that machines need and cannot load: br_netfilter, nf_conntrack, nf_tables, vxlan, ip_set, xt_set
setting fs.inotify.max_user_instances = 8192 (was 128): each kubelet and containerd needs dozens
setting fs.inotify.max_user_watches = 1048576 (was 65536): each kubelet and containerd needs many
setting vm.overcommit_memory = 1 (was 0): kubelet sets this on every machine, and all machines share one kernel
setting kernel.panic = 10 (was 0): kubelet sets this on every machine, and all machines share one kernel
setting kernel.panic_on_oops = 1 (was 0): kubelet sets this on every machine, and all machines share one kernel
`, f.setUp(Engine{}))
	assert.Equal(t, 262144, f.value("net.netfilter.nf_conntrack_max"), "a higher value is kept")
	assert.Empty(t, f.setUp(Engine{}), "the second time there is nothing to do")
	f.set("kernel.panic", 0)
	f.setUp(Engine{})
	f.set("vm.overcommit_memory", 2)
	require.NoError(t, f.EngineStarted(77))
	f.file("77/comm", "dockerd\n")

	assert.Equal(t, `putting back kernel.panic_on_oops = 0 (was 1)
putting back kernel.panic = 0 (was 10)
leaving vm.overcommit_memory = 2: the rehearsal had set it to 1, and somebody else changed it since
putting back fs.inotify.max_user_watches = 65536 (was 1048576)
putting back fs.inotify.max_user_instances = 128 (was 8192)
leaving net.ipv4.ip_forward = 1 and the policy DROP of iptables' FORWARD chain: Docker forwards its containers' packets while it runs
unloaded the kernel module xt_set
unloaded the kernel module ip_set
unloaded the kernel module vxlan
leaving the kernel module nf_tables loaded until the next boot: it is in use
unloaded the kernel module nf_conntrack
unloaded the kernel module br_netfilter
leaving dockerd running, which was started for the rehearsal; `+"`kill 77`"+` stops it
`, f.putBack())
	assert.Equal(t, 65536, f.value("fs.inotify.max_user_watches"))
	assert.Equal(t, drop, f.policyNow)
	assert.Empty(t, f.putBack(), "there is nothing left to put back")
	changed, err := f.Changed()
	require.NoError(t, err)
	assert.False(t, changed)
}

// What a second run changes again keeps the value from before the first.
func TestValuesFromBeforeAreNotOverwritten(t *testing.T) {
	f := newFake(t)
	f.setUp(Engine{})
	f.set("kernel.panic", 5)
	f.setUp(Engine{})
	assert.Equal(t, 10, f.value("kernel.panic"))
	assert.Contains(t, f.putBack(), "putting back kernel.panic = 0 (was 10)\n")
}

func TestSettingsInUseAreLeft(t *testing.T) {
	f := newFake(t)
	release, err := f.Use()
	require.NoError(t, err)
	other, err := f.Use()
	require.NoError(t, err, "several processes may use them")
	f.setUp(Engine{})
	release()
	const left = "leaving this host's kernel settings as they are: another process is setting up or running a rehearsal; run this again when it has ended\n"
	assert.Equal(t, left, f.putBack())
	assert.Equal(t, 10, f.value("kernel.panic"))
	other()
	assert.NotContains(t, f.putBack(), left)
	assert.Equal(t, 0, f.value("kernel.panic"))
}

func TestRecordOfAnEarlierBootIsIgnored(t *testing.T) {
	f := newFake(t)
	f.setUp(Engine{})
	f.file("sys/kernel/random/boot_id", "second\n")
	f.set("kernel.panic", 3)
	assert.Empty(t, f.putBack())
	f.setUp(Engine{})
	assert.Contains(t, f.putBack(), "putting back kernel.panic = 3 (was 10)\n")
}

func TestADamagedRecordIsAnError(t *testing.T) {
	f := newFake(t)
	f.setUp(Engine{})
	require.NoError(t, os.WriteFile(f.Host.file(), []byte("x"), 0o600))
	assert.ErrorContains(t, f.PutBack(t.Context()), f.Host.file()+" is no record; remove it, and set the values back by hand or boot the host")
}

func TestForwarding(t *testing.T) {
	const closing = "setting the policy of iptables' FORWARD chain to DROP (was ACCEPT): otherwise this host would route between all its networks\n"
	const turningOn = "setting net.ipv4.ip_forward = 1 (was 0): public addresses are translated on this host\n"
	t.Run("Docker turns it on and restricts it", func(t *testing.T) {
		f := newFake(t)
		printed := f.setUp(Engine{})
		assert.NotContains(t, printed, "forward")
		assert.NotContains(t, printed, "FORWARD")
		assert.Equal(t, drop, f.policyNow)
	})
	t.Run("Docker ran without it", func(t *testing.T) { // dockerd --ip-forward=false
		f := newFake(t)
		require.NoError(t, f.Begin())
		require.NoError(t, f.Set(t.Context(), Engine{}))
		assert.True(t, strings.HasSuffix(f.log.String(), closing+turningOn), f.log.String())
		assert.Equal(t, drop, f.policyNow)
		assert.Equal(t, 1, f.value(forwarding))
		printed := f.putBack()
		assert.Contains(t, printed, "putting back net.ipv4.ip_forward = 0 (was 1)\n")
		assert.Contains(t, printed, "putting back the policy ACCEPT of iptables' FORWARD chain (was DROP)\n")
		assert.Equal(t, accept, f.policyNow)
		assert.Equal(t, 0, f.value(forwarding))
	})
	t.Run("Docker turns it on without restricting it", func(t *testing.T) { // dockerd --ip-forward-no-drop
		f := newFake(t)
		require.NoError(t, f.Begin())
		f.set(forwarding, 1)
		require.NoError(t, f.Set(t.Context(), Engine{}))
		assert.Contains(t, f.log.String(), closing)
		assert.Contains(t, f.putBack(), "leaving net.ipv4.ip_forward = 1 and the policy DROP")
		assert.Equal(t, drop, f.policyNow)
	})
	t.Run("it is opened while a rehearsal is up", func(t *testing.T) {
		f := newFake(t)
		f.setUp(Engine{})
		f.policyNow = accept
		assert.Equal(t, closing, f.setUp(Engine{}))
		assert.Equal(t, drop, f.policyNow)
	})
	t.Run("the host is a router", func(t *testing.T) {
		f := newFake(t)
		f.set(forwarding, 1)
		assert.NotContains(t, f.setUp(Engine{Rehearsed: true}), closing)
		assert.Equal(t, accept, f.policyNow)
		assert.NotContains(t, f.putBack(), "FORWARD")
		assert.Equal(t, accept, f.policyNow)
	})
	t.Run("an earlier version turned it on in this boot", func(t *testing.T) {
		f := newFake(t)
		f.setUp(Engine{})
		require.NoError(t, os.RemoveAll(f.dir))
		f.policyNow = accept
		assert.Equal(t, closing, f.setUp(Engine{Rehearsed: true}))
		assert.Contains(t, f.putBack(), "leaving net.ipv4.ip_forward = 1 and the policy DROP")
		assert.Equal(t, drop, f.policyNow)
	})
	t.Run("Docker filters with nftables", func(t *testing.T) {
		f := newFake(t)
		f.set(forwarding, 1)
		f.setUp(Engine{Nftables: true})
		assert.Equal(t, accept, f.policyNow, "a policy of iptables would drop the packets of Docker's networks, too")

		f = newFake(t)
		require.NoError(t, f.Begin())
		assert.ErrorContains(t, f.Set(t.Context(), Engine{Nftables: true}), "set net.ipv4.ip_forward = 1 and rules of your own")
		assert.Equal(t, 0, f.value(forwarding))
	})
}

func TestAKernelWithoutModules(t *testing.T) {
	f := newFake(t)
	require.NoError(t, os.RemoveAll(f.modules))
	require.NoError(t, os.Remove(filepath.Join(f.proc, "modules")))
	assert.NotContains(t, f.setUp(Engine{}), "modules")
}

// `make clean` builds the command again where only the record is left.
func TestTheMakefileKnowsTheRecord(t *testing.T) {
	makefile, err := os.ReadFile("../../../../Makefile")
	require.NoError(t, err)
	assert.Contains(t, string(makefile), "HOST     := "+RecordFile+"\n")
}
