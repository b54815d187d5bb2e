// Package docker runs the instances of the AWS model as real Linux machines: Docker containers on a bridge that has
// their VPC's network, each with a firewall that enforces its security groups.
//
// The account is the desired state. A Driver isn't told what changed: each time it compares everything that Docker has
// under the state directory's label with the account, and reconciles the two. The next run therefore repairs whatever
// a killed run left behind.
//
// A VPC is a bridge. This host is its router, at the VPC's first address. A container at the second address runs what
// AWS provides in every VPC (the metadata service and a resolver), and the mirror that replaces the internet for the
// machines. See cmd/vpc.
package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockernet "github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/setup"
)

const (
	// Label is set on everything in Docker that belongs to a rehearsal. Its value is the state directory.
	Label = "eco2.rehearsal"
	// idLabel holds the AWS id that a container or network stands for, nameLabel its name for people.
	idLabel   = Label + ".id"
	nameLabel = Label + ".name"
	// recipeLabel holds a hash of what a services container was made from, mirrorLabel the directory that it serves.
	recipeLabel = Label + ".recipe"
	mirrorLabel = Label + ".mirror"

	// directory is the subdirectory of the state directory with the machines' own files.
	directory = "machines"
	// lockFile is the lock of the state directory's machines.
	lockFile = directory + ".lock"
	// parallel bounds how many containers are worked on at once. The Docker engine serialises most of it anyway.
	parallel = 8
)

// Driver reconciles containers and networks with the account of a state directory. It implements the Machines of cloud/provider.
type Driver struct {
	stateDir, mirrorDir string
	account             *aws.Account
	docker              *client.Client
	rounds              *coalescer[outcome]
}

// New returns a driver for a state directory. SetUpHost must have run on this host before.
func New(stateDir string) (*Driver, error) {
	stateDir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, fmt.Errorf("finding the state directory: %w", err)
	}
	docker, err := connect()
	if err != nil {
		return nil, err
	}
	d := &Driver{stateDir: stateDir, mirrorDir: os.Getenv(setup.MirrorEnv), account: aws.Open(stateDir), docker: docker}
	d.rounds = &coalescer[outcome]{run: d.reconcile}
	return d, nil
}

// failure is one thing that could not be brought into its desired state.
type failure struct {
	// affected are the AWS ids that it concerns; nil means all.
	affected []string
	err      error
}

// outcome is the result of one round.
type outcome struct {
	failures []failure
	// running are the ids of the running machines' containers, by instance id.
	running map[string]string
}

// Apply implements the Machines of cloud/provider. When it returns nil for an instance, that instance has booted.
func (d *Driver) Apply(ctx context.Context, id string) error {
	result, err := d.rounds.do(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range result.failures {
		if f.affected == nil || slices.Contains(f.affected, id) {
			errs = append(errs, f.err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if box, ok := result.running[id]; ok {
		return d.awaitBoot(ctx, box)
	}
	return nil
}

// reconcile brings everything into the state that the account describes. A lock lets one process at a time do so.
func (d *Driver) reconcile(ctx context.Context) (result outcome) {
	unlock, err := lock(ctx, d.stateDir)
	if err != nil {
		return outcome{failures: []failure{{err: err}}}
	}
	defer unlock()
	w, err := read(d.account)
	if err != nil {
		return outcome{failures: []failure{{err: err}}}
	}
	return d.converge(ctx, w)
}

// converge creates what the desired state lacks and removes everything else that has the state directory's label. A
// failure of one machine does not stop the others.
func (d *Driver) converge(ctx context.Context, w desired) (result outcome) {
	found, err := d.find(ctx)
	if err != nil {
		return outcome{failures: []failure{{err: err}}}
	}
	fail := func(err error, affected ...string) {
		if err != nil {
			result.failures = append(result.failures, failure{affected, err})
		}
	}
	for _, f := range d.removeOthers(ctx, found, w) {
		fail(f.err, f.affected...)
	}
	claimed, err := w.claimedByOthers()
	if err != nil {
		fail(err)
	}
	for i, m := range w.machines {
		if device, ok := claimed[m.PublicIP]; ok {
			fail(fmt.Errorf("translating %s for machine %s (%s): another rehearsal on this host has that address, on the network device %s; "+
				"destroy it first, `docker ps --format '{{.Names}} {{.Labels}}'` names its state directory", m.PublicIP, m.title(), m.ID, device), m.ID)
			w.machines[i].PublicIP = ""
		}
	}
	for _, n := range w.networks {
		affected := []string{n.ID}
		for _, m := range w.machines {
			if m.VPCID == n.ID {
				affected = append(affected, m.ID)
			}
		}
		if _, ok := found.networks[n.ID]; !ok {
			if err := d.createNetwork(ctx, n); err != nil {
				fail(err, affected...)
				continue
			}
		}
		fail(attach(n, w), affected...)
		fail(d.runServices(ctx, n, found.boxes[n.ID]), affected...)
	}
	if err := setHostRules(d.stateDir, w); err != nil {
		fail(err)
	}
	errs := make([]error, len(w.machines))
	result.running = map[string]string{}
	boxes := make([]string, len(w.machines))
	inParallel(w.machines, func(i int, m machine) {
		boxes[i], errs[i] = d.run(ctx, m, found.boxes[m.ID])
	})
	for i, m := range w.machines {
		fail(errs[i], append([]string{m.ID}, m.SecurityGroupIDs...)...)
		if boxes[i] != "" {
			result.running[m.ID] = boxes[i]
		}
	}
	fail(d.removeDisks(ctx, w.volumes, w.snapshots))
	if len(w.networks) == 0 {
		if err := os.RemoveAll(filepath.Join(d.stateDir, directory)); err != nil {
			fail(fmt.Errorf("removing the machines' files: %w", err))
		}
	}
	return result
}

// found is what Docker has under the state directory's label, by the AWS id that each container or network stands for.
type found struct {
	boxes    map[string]container.Summary
	networks map[string]dockernet.Summary
}

func (d *Driver) find(ctx context.Context) (found, error) {
	f := found{boxes: map[string]container.Summary{}, networks: map[string]dockernet.Summary{}}
	mine := filters.NewArgs(filters.Arg("label", Label+"="+d.stateDir))
	boxes, err := d.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return f, fmt.Errorf("listing the machines' containers: %w", err)
	}
	for _, box := range boxes {
		f.boxes[box.Labels[idLabel]] = box
	}
	networks, err := d.docker.NetworkList(ctx, dockernet.ListOptions{Filters: mine})
	if err != nil {
		return f, fmt.Errorf("listing the machines' networks: %w", err)
	}
	for _, n := range networks {
		f.networks[n.Labels[idLabel]] = n
	}
	return f, nil
}

// removeOthers removes what the desired state does not have, with its disks. Containers go first: Docker removes no
// network that still has one.
func (d *Driver) removeOthers(ctx context.Context, f found, w desired) (failures []failure) {
	keep := map[string]bool{}
	for _, n := range w.networks {
		keep[n.ID] = true
	}
	for _, m := range w.machines {
		keep[m.ID] = true
	}
	others := slices.DeleteFunc(slices.Collect(maps.Keys(f.boxes)), func(id string) bool { return keep[id] })
	errs := make([]error, len(others))
	inParallel(others, func(i int, id string) {
		errs[i] = d.remove(ctx, f.boxes[id])
	})
	for i, id := range others {
		if errs[i] != nil {
			failures = append(failures, failure{[]string{id}, errs[i]})
		}
	}
	for id, n := range f.networks {
		if keep[id] {
			continue
		}
		if err := d.docker.NetworkRemove(ctx, n.ID); err != nil && !isNotFound(err) {
			failures = append(failures, failure{[]string{id}, fmt.Errorf("removing the network %s of %s: %w", n.Name, id, err)})
		}
	}
	return failures
}

func inParallel[T any](list []T, do func(i int, v T)) {
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, v := range list {
		group.Go(func() error {
			do(i, v)
			return nil
		})
	}
	_ = group.Wait() // do keeps its own errors
}

// Restore starts the machines that should run according to the account and do not, for example after a reboot of this
// host. It returns when all of them have booted.
func Restore(ctx context.Context, stateDir string) error {
	d, err := New(stateDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.docker.Close() }() // nothing was written
	if networks, err := d.account.VPCs(); err != nil || len(networks) == 0 {
		return err
	}
	result, err := d.rounds.do(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range result.failures {
		errs = append(errs, f.err)
	}
	for _, box := range result.running {
		errs = append(errs, d.awaitBoot(ctx, box))
	}
	return errors.Join(errs...)
}

// Remove removes everything that the machines of a state directory have on this host: containers with their disks,
// networks, addresses and NAT rules. It works without an account.
func Remove(ctx context.Context, stateDir string) error { return remove(ctx, io.Discard, stateDir) }

// remove is Remove, and prints to out what there is to remove.
func remove(ctx context.Context, out io.Writer, stateDir string) error {
	d, err := New(stateDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.docker.Close() }() // nothing was written
	_, statErr := os.Stat(filepath.Join(d.stateDir, directory))
	if _, err := d.docker.Ping(ctx); client.IsErrConnectionFailed(err) && errors.Is(statErr, os.ErrNotExist) {
		return nil // no machine was ever created
	}
	if err := os.MkdirAll(d.stateDir, 0o755); err != nil {
		return fmt.Errorf("finding the state directory: %w", err)
	}
	unlock, err := lock(ctx, d.stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := d.find(ctx)
	if err != nil {
		return err
	}
	if len(found.boxes)+len(found.networks) > 0 {
		say(out, "removing %d containers and %d networks of %s, with their disks, addresses and routes and the nftables table %s",
			len(found.boxes), len(found.networks), d.stateDir, tableName(d.stateDir))
	}
	var errs []error
	for _, f := range d.converge(ctx, desired{}).failures {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// Machine is an instance of the account and its container.
type Machine struct {
	// Name is the instance's Name tag, Container the container's name, which is empty if there is no container.
	Name, InstanceID, Container string
	// State is the state that Docker reports ("running", "exited"), or "missing" without a container.
	State string
	// PublicIP is empty if the instance has none.
	PrivateIP, PublicIP string
}

// Command returns a command that runs on the machine as root. It uses neither SSH nor the machine's network.
func (m Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "docker", append([]string{"exec", "--interactive", m.Container}, args...)...)
}

// List returns the machines of a state directory, sorted by name.
func List(ctx context.Context, stateDir string) ([]Machine, error) {
	d, err := New(stateDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.docker.Close() }() // nothing was written
	f, err := d.find(ctx)
	if err != nil {
		return nil, err
	}
	instances, err := d.account.Instances()
	if err != nil {
		return nil, fmt.Errorf("listing instances: %w", err)
	}
	var list []Machine
	for _, i := range instances {
		m := Machine{Name: i.Name(), InstanceID: i.ID, PrivateIP: i.PrivateIP, PublicIP: i.PublicIP, State: "missing"}
		if box, ok := f.boxes[i.ID]; ok {
			m.Container, m.State = boxName(box), box.State
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Machine) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.InstanceID, b.InstanceID))
	})
	return list, nil
}

// lock keeps other processes from changing the machines of a state directory.
func lock(ctx context.Context, stateDir string) (unlock func(), err error) {
	if unlock, err = filelock.LockContext(ctx, filepath.Join(stateDir, lockFile), nil); err != nil {
		return nil, fmt.Errorf("locking the machines: %w", err)
	}
	return unlock, nil
}
