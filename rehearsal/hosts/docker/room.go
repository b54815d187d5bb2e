package docker

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sys/unix"
)

// The disk space and memory, in bytes, that 14 machines take with the whole program on them. The README gives the same
// figures.
const (
	diskTaken   = 22 << 30
	memoryTaken = 13 << 30
)

// noteRoom prints a note if this host has less free disk space or memory than 14 machines take, and no machine runs
// yet. It is not an error: a stack may have fewer machines.
func noteRoom(ctx context.Context, out io.Writer) error {
	docker, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	running, err := docker.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", Label))})
	if err != nil {
		return fmt.Errorf("looking for machines: %w", err)
	}
	if len(running) > 0 {
		return nil
	}
	info, err := docker.Info(ctx)
	if err != nil {
		return fmt.Errorf("asking Docker where it keeps machines: %w", err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(info.DockerRootDir, &disk); err != nil {
		return fmt.Errorf("looking for room in %s: %w", info.DockerRootDir, err)
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return fmt.Errorf("looking for memory: %w", err)
	}
	for _, line := range shortages(info.DockerRootDir, disk.Bavail*uint64(disk.Bsize), available(string(memory))) {
		say(out, "%s", line)
	}
	return nil
}

// available returns MemAvailable of /proc/meminfo, in bytes.
func available(meminfo string) (bytes uint64) {
	for line := range strings.Lines(meminfo) {
		var kibibytes uint64
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kibibytes); err == nil {
			return kibibytes << 10
		}
	}
	return 0
}

func shortages(root string, disk, memory uint64) (lines []string) {
	note := func(what string, has, taken uint64) {
		if has < taken {
			lines = append(lines, fmt.Sprintf("note: %s has %.1f GiB left, and 14 machines with the whole program take %d GiB; free some, or expect failures for lack of it",
				what, float64(has)/(1<<30), taken>>30))
		}
	}
	note("the disk under "+root, disk, diskTaken)
	note("this host's memory", memory, memoryTaken)
	return lines
}
