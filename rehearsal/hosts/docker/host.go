package docker

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

// SetUpHost sets this host up to run machines: a Docker engine, kernel settings, the machine image. It prints to out what
// it installs or changes before it does. Where everything is there already, it is quick and changes nothing.
func SetUpHost(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the rehearsal's machines need root: run it as root, or use modelled machines with LEVEL=simulate")
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
	noTests := func(string) bool { return false } // they may be running: see ReserveForTests
	if err := removeAbandoned(ctx, out, noTests); err != nil {
		return fmt.Errorf("removing what deleted checkouts left: %w", err)
	}
	if err := noteRoom(ctx, out); err != nil {
		return err
	}
	return buildImage(ctx, out)
}

// modules are the kernel modules that machines need. A machine shares the host's kernel and cannot load its own.
var modules = []string{"overlay", "br_netfilter", "nf_conntrack", "nf_tables", "vxlan", "ip_set", "xt_set"}

// loadModules loads the modules that are not built into the kernel. Where this host has no modules at all, or no
// modprobe, it does nothing: a missing feature then fails where it is used, with its own message.
func loadModules(ctx context.Context) error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("reading the kernel's version: %w", err)
	}
	// Without this directory the kernel has no modules: everything it supports is built in.
	if _, err := os.Stat(filepath.Join("/lib/modules", strings.TrimSpace(string(release)))); err != nil {
		return nil //nolint:nilerr // see above
	}
	if _, err := exec.LookPath("modprobe"); err != nil {
		return nil //nolint:nilerr // likewise
	}
	return command(ctx, "modprobe", append([]string{"--all"}, modules...)...)
}

// setting is a sysctl value that machines share with the host.
type setting struct {
	key   string
	value int
	// atLeast permits a greater value.
	atLeast bool
	// optional permits that the kernel does not have this setting.
	optional bool
	// why is printed when the setting is changed.
	why string
}

func settings() []setting {
	const kubelet = "kubelet sets this on every machine, and all machines share one kernel"
	return []setting{
		{"fs.inotify.max_user_instances", 8192, true, false, "each kubelet and containerd needs dozens"},
		{"fs.inotify.max_user_watches", 1 << 20, true, false, "each kubelet and containerd needs many"},
		{"net.ipv4.ip_forward", 1, false, false, "public addresses are translated on this host"},
		// kube-proxy computes this from its defaults: conntrack.maxPerCore 32768 for each core, at least conntrack.min
		// 131072. A container cannot set it, but kube-proxy leaves a value alone that is exactly what it computed.
		{"net.netfilter.nf_conntrack_max", max(32768*runtime.NumCPU(), 131072), false, false, "kube-proxy requires exactly this and cannot set it from within a machine"},
		// The values that kubelet's container manager sets, in setupKernelTunables.
		{"vm.overcommit_memory", 1, false, false, kubelet},
		{"vm.panic_on_oom", 0, false, false, kubelet},
		{"kernel.panic", 10, false, false, kubelet},
		{"kernel.panic_on_oops", 1, false, false, kubelet},
		{"kernel.keys.root_maxkeys", 1_000_000, false, true, kubelet},
		{"kernel.keys.root_maxbytes", 25_000_000, false, true, kubelet},
	}
}

// setKernel changes the host's kernel settings where they differ. The change lasts until the host's next boot.
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
