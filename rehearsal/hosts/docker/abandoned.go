package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockernet "github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"eco2/rehearsal/internal/filelock"
)

// removeAbandoned removes what the machines of abandoned rehearsals have on this host: of those whose state directory
// is gone, because nobody can destroy them any more, and of those for which abandoned returns true. Docker must run.
func removeAbandoned(ctx context.Context, log io.Writer, abandoned func(stateDir string) bool) error {
	docker, err := connect()
	if err != nil {
		return err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	dirs, err := stateDirs(ctx, docker)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		_, err := os.Stat(dir)
		gone := errors.Is(err, fs.ErrNotExist)
		if !gone && !abandoned(dir) {
			continue
		}
		_, _ = fmt.Fprintf(log, "removing the machines of %s, which no process uses any more\n", dir) // progress only
		errs = append(errs, Remove(ctx, dir))
		if gone {
			errs = append(errs, os.RemoveAll(dir)) // Remove keeps its lock there
		}
	}
	return errors.Join(errs...)
}

// stateDirs returns the state directories of all rehearsals that have containers or networks on this host, sorted.
func stateDirs(ctx context.Context, docker *client.Client) ([]string, error) {
	labelled := filters.NewArgs(filters.Arg("label", Label))
	boxes, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: labelled})
	if err != nil {
		return nil, fmt.Errorf("listing the containers of all rehearsals: %w", err)
	}
	networks, err := docker.NetworkList(ctx, dockernet.ListOptions{Filters: labelled})
	if err != nil {
		return nil, fmt.Errorf("listing the networks of all rehearsals: %w", err)
	}
	dirs := map[string]bool{}
	for _, box := range boxes {
		dirs[box.Labels[Label]] = true
	}
	for _, n := range networks {
		dirs[n.Labels[Label]] = true
	}
	return slices.Sorted(maps.Keys(dirs)), nil
}

// ReserveForTests waits until no other process on this host tests with machines, and then removes what killed tests
// have left, of any checkout: their networks would overlap those of the tests. The reservation ends with the process.
// SetUpHost must have run before.
func ReserveForTests(ctx context.Context, log io.Writer) error {
	reservation.Lock()
	defer reservation.Unlock()
	if reserved != nil {
		return nil
	}
	unlock, err := filelock.LockContext(ctx, reservationFile(), func() {
		_, _ = fmt.Fprintln(log, "waiting for the tests of another process, which use this host's machines") // progress only
	})
	if err != nil {
		return fmt.Errorf("reserving this host for tests: %w", err)
	}
	reserved = unlock
	return removeAbandoned(ctx, log, ofTests)
}

var (
	reservation sync.Mutex
	// reserved is not nil if this process has the reservation. Nobody calls it; without it, the garbage collector would
	// release the lock.
	reserved func()
)

// reservationFile is locked by the process that tests with machines.
func reservationFile() string { return filepath.Join(os.TempDir(), "eco2-machine-tests.lock") }

// ofTests reports whether a state directory is one that only tests use.
func ofTests(stateDir string) bool {
	inCheckout := strings.HasSuffix(stateDir, filepath.Join(".rehearsal", "test"))
	return inCheckout || strings.HasPrefix(stateDir, os.TempDir()+string(filepath.Separator)+"Test")
}
