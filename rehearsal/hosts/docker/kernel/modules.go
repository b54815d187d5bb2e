package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// needed are the kernel modules that machines need. A machine shares the host's kernel and cannot load its own.
var needed = []string{"overlay", "br_netfilter", "nf_conntrack", "nf_tables", "vxlan", "ip_set", "xt_set"}

// LoadModules loads the modules that are not built into the kernel. Where this host has no modules at all, or no
// modprobe, it does nothing: a missing feature then fails where it is used, with its own message. Begin must have been
// called.
func (h *Host) LoadModules(ctx context.Context) error {
	release, err := os.ReadFile(filepath.Join(h.proc, "sys/kernel/osrelease"))
	if err != nil {
		return fmt.Errorf("reading the kernel's version: %w", err)
	}
	// Without this directory the kernel has no modules: everything it supports is built in.
	if _, err := os.Stat(filepath.Join(h.modules, strings.TrimSpace(string(release)))); err != nil {
		return nil //nolint:nilerr // see above
	}
	before, err := h.loaded()
	if err != nil {
		return err
	}
	if _, err := h.command(ctx, "modprobe", append([]string{"--all"}, needed...)...); errors.Is(err, exec.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	after, err := h.loaded()
	if err != nil {
		return err
	}
	r, err := h.load()
	if err != nil || r == nil {
		return err
	}
	news := slices.DeleteFunc(slices.Clone(needed), func(name string) bool { return before[name] || !after[name] })
	if len(news) == 0 {
		return nil
	}
	h.say("loaded kernel modules that machines need and cannot load: %s", strings.Join(news, ", "))
	r.Modules = append(r.Modules, news...)
	return h.save(r)
}

// loaded returns the modules that are loaded at present; none if the kernel does not support modules.
func (h *Host) loaded() (map[string]bool, error) {
	data, err := os.ReadFile(filepath.Join(h.proc, "modules"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the kernel's modules: %w", err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, " ")
		names[name] = true
	}
	return names, nil
}
