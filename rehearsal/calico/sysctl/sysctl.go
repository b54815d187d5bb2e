// Package sysctl changes settings of the kernel, in the network namespace of the calling thread.
package sysctl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Set gives a setting, such as net/ipv4/ip_forward, a value. It only writes what is not so: /proc/sys may
// be read-only.
func Set(name, value string) error {
	file := filepath.Join("/proc/sys", name)
	found, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(found)) != value {
		err = os.WriteFile(file, []byte(value), 0o644)
	}
	if err != nil {
		return fmt.Errorf("setting %s to %s: %w", name, value, err)
	}
	return nil
}
