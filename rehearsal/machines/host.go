package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Prepare makes this host one that can run machines: a Docker engine, kernel settings, the machine image. What
// it installs and changes it says on out first. Where all is there, it is quick and changes nothing.
func Prepare(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the rehearsal's machines need root: run it as root, or leave the machines a model with LEVEL=simulate")
	}
	if err := loadModules(ctx); err != nil {
		return err
	}
	if err := setKernel(out); err != nil {
		return err
	}
	if err := startEngine(ctx, out); err != nil {
		return fmt.Errorf("preparing Docker: %w", err)
	}
	if err := noteRoom(ctx, out); err != nil {
		return err
	}
	return buildImage(ctx, out)
}

// modules are what machines need of the kernel. They have none of their own to load: the host's are theirs.
var modules = []string{"overlay", "br_netfilter", "nf_conntrack", "nf_tables", "vxlan", "ip_set", "xt_set"}

// loadModules loads what is not built in. A kernel that has something under neither name fails where it is used,
// with a message of its own.
func loadModules(ctx context.Context) error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("reading the kernel's version: %w", err)
	}
	// Without such a directory the kernel has no modules: what it can do is built in.
	if _, err := os.Stat(filepath.Join("/lib/modules", strings.TrimSpace(string(release)))); err != nil {
		return nil //nolint:nilerr // see above
	}
	if _, err := exec.LookPath("modprobe"); err != nil {
		return nil //nolint:nilerr // likewise
	}
	return command(ctx, "modprobe", append([]string{"--all"}, modules...)...)
}

// setting is a value of /proc/sys that machines share with the host.
type setting struct {
	key   string
	value int
	// atLeast: a greater value is as good.
	atLeast bool
	// optional: not every kernel has it.
	optional bool
	why      string
}

func settings() []setting {
	const kubelet = "kubelet sets this on every machine, and the kernel has one value for all"
	return []setting{
		{"fs.inotify.max_user_instances", 8192, true, false, "each kubelet and containerd needs dozens"},
		{"fs.inotify.max_user_watches", 1 << 20, true, false, "the same"},
		{"net.ipv4.ip_forward", 1, false, false, "public addresses are translated on this host"},
		// kube-proxy wants conntrack.maxPerCore 32768 for each core, and conntrack.min 131072 at the least. A container
		// cannot set it, but kube-proxy leaves alone what has exactly its value.
		{"net.netfilter.nf_conntrack_max", max(32768*runtime.NumCPU(), 131072), false, false, "kube-proxy wants exactly this and cannot set it from within a machine"},
		// kubelet's own, from its container manager: setupKernelTunables.
		{"vm.overcommit_memory", 1, false, false, kubelet},
		{"vm.panic_on_oom", 0, false, false, kubelet},
		{"kernel.panic", 10, false, false, kubelet},
		{"kernel.panic_on_oops", 1, false, false, kubelet},
		{"kernel.keys.root_maxkeys", 1_000_000, false, true, kubelet},
		{"kernel.keys.root_maxbytes", 25_000_000, false, true, kubelet},
	}
}

// setKernel changes the host's kernel settings, until its next boot.
func setKernel(out io.Writer) error {
	for _, s := range settings() {
		path := "/proc/sys/" + strings.ReplaceAll(s.key, ".", "/")
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && s.optional {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading the kernel setting %s: %w", s.key, err)
		}
		have, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return fmt.Errorf("reading the kernel setting %s: %w", s.key, err)
		}
		if have == s.value || s.atLeast && have > s.value {
			continue
		}
		say(out, "setting %s = %d (was %d): %s", s.key, s.value, have, s.why)
		if err := os.WriteFile(path, []byte(strconv.Itoa(s.value)), 0o644); err != nil {
			return fmt.Errorf("setting the kernel's %s: %w", s.key, err)
		}
	}
	return nil
}
