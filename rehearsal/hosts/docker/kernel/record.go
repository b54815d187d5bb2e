package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// record is what was changed on this host since its boot.
type record struct {
	// Boot is the kernel's ID of the boot.
	Boot string `json:"boot"`
	// New says that Set has not run yet.
	New bool `json:"new,omitempty"`
	// Routed says that the host forwarded packets before the first change. Somebody may rely on that.
	Routed bool `json:"routed"`
	// Settings are in the order in which they were changed.
	Settings []change `json:"settings,omitempty"`
	// Policy is the policy of iptables' FORWARD chain from before; empty if it was not changed.
	Policy string `json:"policy,omitempty"`
	// Modules are the kernel modules that were loaded.
	Modules []string `json:"modules,omitempty"`
	// Engine is the process ID of a Docker engine that was started without systemd.
	Engine int `json:"engine,omitempty"`
}

// change is a changed setting, with its value from before the first change and the value after the last.
type change struct {
	Key    string `json:"key"`
	Before int    `json:"before"`
	After  int    `json:"after"`
}

func (r *record) change(key string, before, after int) {
	if i := slices.IndexFunc(r.Settings, func(c change) bool { return c.Key == key }); i >= 0 {
		r.Settings[i].After = after
		return
	}
	r.Settings = append(r.Settings, change{key, before, after})
}

func (h *Host) file() string { return filepath.Join(h.dir, filepath.Base(RecordFile)) }

func (h *Host) boot() (string, error) {
	id, err := os.ReadFile(filepath.Join(h.proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("reading the ID of this host's boot: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// load returns the record of this boot, or nil if there is none.
func (h *Host) load() (*record, error) {
	data, err := os.ReadFile(h.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no record is no error
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was changed on this host: %w", err)
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("reading what was changed on this host: %s is no record; remove it, and set the values back by hand or boot the host: %w", h.file(), err)
	}
	boot, err := h.boot()
	if err != nil || r.Boot != boot {
		return nil, err
	}
	return r, nil
}

func (h *Host) save(r *record) (err error) {
	if r.Boot, err = h.boot(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(h.dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(h.file()+".new", append(data, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(h.file()+".new", h.file())
	}
	if err != nil {
		return fmt.Errorf("recording what is changed on this host: %w", err)
	}
	return nil
}

// EngineStarted records the process ID of a Docker engine that was started without systemd.
func (h *Host) EngineStarted(pid int) error {
	r, err := h.load()
	if err != nil || r == nil {
		return err
	}
	r.Engine = pid
	return h.save(r)
}
