package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"eco2/rehearsal/hosts/docker/kernel"
)

// SetUpHost sets this host up to run machines: a Docker engine, kernel settings, the machine image. It prints to out
// what it installs or changes before it does. Where everything is there already, it is quick and changes nothing. Clean
// puts the kernel settings back, but not while this process runs.
func SetUpHost(ctx context.Context, out io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("the rehearsal's machines need root: run it as root, or use modelled machines with LEVEL=simulate")
	}
	if _, err := useHost(); err != nil {
		return err
	}
	if err := setUpSystem(ctx, out); err != nil {
		return err
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

// useHost marks the host as in use until this process exits. The variable keeps what releases the mark.
var useHost = sync.OnceValues(func() (release func(), err error) { return kernel.New(io.Discard).Use() })

// setUpSystem starts a Docker engine and changes the kernel's settings.
func setUpSystem(ctx context.Context, out io.Writer) error {
	host := kernel.New(out)
	unlock, err := host.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := host.Begin(); err != nil {
		return err
	}
	if err := host.LoadModules(ctx); err != nil {
		return err
	}
	// Before the settings, so that Docker turns forwarding on itself, and restricts it.
	pid, err := startEngine(ctx, out)
	if pid != 0 {
		err = errors.Join(err, host.EngineStarted(pid))
	}
	if err != nil {
		return fmt.Errorf("preparing Docker: %w", err)
	}
	engine, err := describeEngine(ctx)
	if err != nil {
		return err
	}
	return host.Set(ctx, engine)
}

func describeEngine(ctx context.Context) (e kernel.Engine, err error) {
	docker, err := connect()
	if err != nil {
		return e, err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	info, err := docker.Info(ctx)
	if err != nil {
		return e, fmt.Errorf("asking Docker for its firewall: %w", err)
	}
	// Versions before 28.2 do not report it and only have iptables. With firewalld it is "nftables+firewalld".
	e.Nftables = info.FirewallBackend != nil && strings.HasPrefix(info.FirewallBackend.Driver, "nftables")
	images, err := docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", machineImage))})
	if err != nil {
		return e, fmt.Errorf("listing machine images: %w", err)
	}
	e.Rehearsed = len(images) > 0
	return e, nil
}

// Clean removes the machines of state directories and puts this host's kernel settings back as they were before
// SetUpHost, unless another rehearsal uses them. It prints to out what it does.
func Clean(ctx context.Context, out io.Writer, stateDirs ...string) error {
	for _, dir := range stateDirs {
		if err := remove(ctx, out, dir); err != nil {
			return err
		}
	}
	host := kernel.New(out)
	if changed, err := host.Changed(); err != nil || !changed {
		return err
	}
	if os.Geteuid() != 0 {
		say(out, "leaving this host's kernel settings as they are: putting them back needs root")
		return nil
	}
	others, err := rehearsalsOnHost(ctx)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		say(out, "leaving this host's kernel settings as they are: there are machines of %s; the last `make clean` on this host puts the settings back", strings.Join(others, ", "))
		return nil
	}
	return host.PutBack(ctx)
}

// rehearsalsOnHost returns the state directories of all rehearsals that have machines. Without a Docker engine there
// are none.
func rehearsalsOnHost(ctx context.Context) ([]string, error) {
	docker, err := connect()
	if err != nil {
		return nil, err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	if _, err := docker.Ping(ctx); client.IsErrConnectionFailed(err) {
		return nil, nil
	}
	return stateDirs(ctx, docker)
}
