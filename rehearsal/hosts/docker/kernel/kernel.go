// Package kernel changes the kernel settings of this host for machines, which share its kernel, and puts them back.
//
// It records each change with the value from before. The kernel forgets its settings at the next boot, so a record of
// an earlier boot is ignored.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"eco2/rehearsal/internal/filelock"
)

// dir is outside all checkouts and caches, so that the record survives their deletion.
const dir = "/run/eco2"

// RecordFile is the file in which the changes are recorded. `make clean` looks for it, too.
const RecordFile = dir + "/host.json"

// Host is this host's kernel.
type Host struct {
	// proc and modules are /proc and /lib/modules, dir is the directory of the record; tests have others.
	proc, modules, dir string
	// command runs a program and returns its standard output.
	command func(ctx context.Context, name string, args ...string) (string, error)
	out     io.Writer
}

// New returns this host's kernel. Each change is printed to out.
func New(out io.Writer) *Host {
	return &Host{proc: "/proc", modules: "/lib/modules", dir: dir, command: command, out: out}
}

func command(ctx context.Context, name string, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, name, args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		err = fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(output), err
}

// Lock keeps other processes from changing the host in the meantime.
func (h *Host) Lock(ctx context.Context) (unlock func(), err error) {
	if unlock, err = filelock.LockContext(ctx, filepath.Join(h.dir, "change.lock"), nil); err != nil {
		return nil, fmt.Errorf("locking the host's settings: %w", err)
	}
	return unlock, nil
}

// Use marks the host's settings as in use by this process until release is called or the process exits: PutBack then
// leaves them alone.
func (h *Host) Use() (release func(), err error) {
	if release, err = filelock.Share(h.useLock()); err != nil {
		return nil, fmt.Errorf("marking the host's settings as in use: %w", err)
	}
	return release, nil
}

func (h *Host) useLock() string { return filepath.Join(h.dir, "use.lock") }

// Engine describes the host's Docker engine.
type Engine struct {
	// Nftables says that it filters with its own nftables tables instead of iptables.
	Nftables bool
	// Rehearsed says that it has an image of machines: a rehearsal ran on this host at some time.
	Rehearsed bool
}

// Begin records whether the host forwards packets by itself. Call it before the Docker engine starts, which turns
// forwarding on.
func (h *Host) Begin() error {
	r, err := h.load()
	if err != nil || r != nil {
		return err
	}
	forwards, err := h.read(forwarding)
	if err != nil {
		return err
	}
	return h.save(&record{Routed: forwards != 0, New: true})
}

// Set changes the settings where they differ. Begin must have been called, and the Docker engine must run.
func (h *Host) Set(ctx context.Context, engine Engine) error {
	r, err := h.load()
	if err != nil {
		return err
	}
	if r == nil {
		return errors.New("setting up this host's kernel: Begin was not called") // a mistake of the caller
	}
	changed := false
	for _, s := range settings {
		have, err := h.read(s.key)
		if errors.Is(err, fs.ErrNotExist) && s.optional {
			continue
		}
		if err != nil {
			return err
		}
		if have == s.value || s.atLeast && have > s.value {
			continue
		}
		changed = true
		if err := h.write(r, s.key, have, s.value, s.why); err != nil {
			return err
		}
	}
	if r.New && !changed && engine.Rehearsed {
		// An earlier version has set this host up. It kept no record, and turned forwarding on before Docker could
		// close it.
		r.Routed = false
	}
	r.New = false
	if err := h.save(r); err != nil {
		return err
	}
	return h.forward(ctx, r, engine)
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

const byKubelet = "kubelet sets this on every machine, and all machines share one kernel"

var settings = []setting{
	{"fs.inotify.max_user_instances", 8192, true, false, "each kubelet and containerd needs dozens"},
	{"fs.inotify.max_user_watches", 1 << 20, true, false, "each kubelet and containerd needs many"},
	// kube-proxy's default for conntrack.min. It does not set it itself: see image/kubeadm.
	{"net.netfilter.nf_conntrack_max", 131072, true, false, "kube-proxy gives a node at least as many connections"},
	// The values that kubelet's container manager sets, in setupKernelTunables.
	{"vm.overcommit_memory", 1, false, false, byKubelet},
	{"vm.panic_on_oom", 0, false, false, byKubelet},
	{"kernel.panic", 10, false, false, byKubelet},
	{"kernel.panic_on_oops", 1, false, false, byKubelet},
	{"kernel.keys.root_maxkeys", 1_000_000, false, true, byKubelet},
	{"kernel.keys.root_maxbytes", 25_000_000, false, true, byKubelet},
}

func (h *Host) path(key string) string {
	return filepath.Join(h.proc, "sys", strings.ReplaceAll(key, ".", "/"))
}

func (h *Host) read(key string) (value int, err error) {
	data, err := os.ReadFile(h.path(key))
	if err == nil {
		value, err = strconv.Atoi(strings.TrimSpace(string(data)))
	}
	if err != nil {
		return 0, fmt.Errorf("reading the kernel setting %s: %w", key, err)
	}
	return value, nil
}

// write changes a setting, after it has recorded the change.
func (h *Host) write(r *record, key string, before, value int, why string) error {
	h.say("setting %s = %d (was %d): %s", key, value, before, why)
	r.change(key, before, value)
	if err := h.save(r); err != nil {
		return err
	}
	return h.put(key, value)
}

func (h *Host) put(key string, value int) error {
	if err := os.WriteFile(h.path(key), []byte(strconv.Itoa(value)), 0o644); err != nil { //nolint:gosec // it exists
		return fmt.Errorf("setting the kernel's %s: %w", key, err)
	}
	return nil
}

func (h *Host) say(format string, args ...any) {
	_, _ = fmt.Fprintf(h.out, format+"\n", args...) // lost progress output is no failure
}
