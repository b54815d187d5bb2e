package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/internal/filelock"
)

// Changed reports whether there is anything to put back.
func (h *Host) Changed() (bool, error) {
	r, err := h.load()
	return r != nil, err
}

// PutBack puts back what was changed since the host's boot, and prints each step. It leaves alone what somebody else
// has changed since, and everything while another process uses the settings.
func (h *Host) PutBack(ctx context.Context) error {
	r, err := h.load()
	if err != nil || r == nil {
		return err
	}
	release, free, err := filelock.Try(h.useLock())
	if err != nil {
		return fmt.Errorf("putting back this host's settings: %w", err)
	}
	if !free {
		h.say("leaving this host's kernel settings as they are: another process is setting up or running a rehearsal; run this again when it has ended")
		return nil
	}
	defer release()
	var errs []error
	for _, c := range slices.Backward(r.Settings) {
		errs = append(errs, h.putBack(c))
	}
	errs = append(errs, h.reopenForward(ctx, r))
	for _, name := range slices.Backward(r.Modules) {
		h.unload(ctx, name)
	}
	if r.Engine != 0 && h.runs(r.Engine, "dockerd") {
		h.say("leaving dockerd running, which was started for the rehearsal; `kill %d` stops it", r.Engine)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("putting back this host's settings: %w", err)
	}
	if err := os.Remove(h.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the record of this host's settings: %w", err)
	}
	return nil
}

func (h *Host) putBack(c change) error {
	have, err := h.read(c.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist): // its module was unloaded
		return nil
	case err != nil:
		return err
	case have == c.Before:
		return nil
	case have != c.After:
		h.say("leaving %s = %d: the rehearsal had set it to %d, and somebody else changed it since", c.Key, have, c.After)
		return nil
	}
	h.say("putting back %s = %d (was %d)", c.Key, c.Before, have)
	return h.put(c.Key, c.Before)
}

// reopenForward puts back the policy of iptables' FORWARD chain, but only if the kernel no longer forwards: otherwise
// the host would route between all its networks.
func (h *Host) reopenForward(ctx context.Context, r *record) error {
	forwards, err := h.read(forwarding)
	if err != nil {
		return err
	}
	switch {
	case forwards == 0 && r.Policy != "":
		h.say("putting back the policy %s of iptables' FORWARD chain (was %s)", r.Policy, drop)
		return h.setPolicy(ctx, r.Policy)
	case forwards != 0 && !r.Routed:
		h.say("leaving %s = %d and the policy %s of iptables' FORWARD chain: Docker forwards its containers' packets while it runs", forwarding, forwards, drop)
	}
	return nil
}

func (h *Host) unload(ctx context.Context, name string) {
	if loaded, err := h.loaded(); err == nil && !loaded[name] {
		return
	}
	if _, err := h.command(ctx, "modprobe", "--remove", name); err != nil {
		h.say("leaving the kernel module %s loaded until the next boot: %v", name, err)
		return
	}
	h.say("unloaded the kernel module %s", name)
}

// runs reports whether a process runs a program.
func (h *Host) runs(pid int, program string) bool {
	name, err := os.ReadFile(filepath.Join(h.proc, fmt.Sprint(pid), "comm"))
	return err == nil && strings.TrimSpace(string(name)) == program
}
