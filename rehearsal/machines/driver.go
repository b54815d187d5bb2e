// Package machines makes the instances of the AWS model real: Linux machines as containers in Docker, on a bridge
// with their VPC's network, behind the firewall that their security groups say.
//
// What the account says is what runs. Nothing here is told what changed: each time, a Driver compares all that
// Docker has under the state directory's label with the account, and makes it equal. So a run that was killed
// leaves nothing that the next does not repair.
//
// A VPC is a bridge. This host is its router, at the first address; a container at the second has what AWS has in
// every VPC, the metadata service and a resolver, and the mirror, which is the machines' internet. See cmd/services.
package machines

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	dockernet "github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"eco2/rehearsal/aws"
)

const (
	// Label is on everything in Docker that is a rehearsal's; its value is the state directory.
	Label = "eco2.rehearsal"
	// idLabel is what in the account a container or network stands for, nameLabel what people call it.
	idLabel   = Label + ".id"
	nameLabel = Label + ".name"
	// recipeLabel is what a services container was made of, mirrorLabel the directory that it serves.
	recipeLabel = Label + ".recipe"
	mirrorLabel = Label + ".mirror"

	// MirrorEnv names the directory that the mirror serves. A driver that is not told leaves the mirror as it is.
	MirrorEnv = "ECO2_REHEARSAL_MIRROR"

	// directory is where in the state directory the machines' own files are.
	directory = "machines"
	// parallel is how many containers are worked on at once: the engine serialises most of it.
	parallel = 8
)

// Driver makes what runs follow the account of a state directory. It implements aws.Machines.
type Driver struct {
	stateDir, mirrorDir string
	account             *aws.Account
	docker              *client.Client
	rounds              *coalescer[outcome]
}

// New makes a driver for a state directory. Prepare must have been here before.
func New(stateDir string) (*Driver, error) {
	stateDir, err := filepath.Abs(stateDir)
	if err != nil {
		return nil, fmt.Errorf("finding the state directory: %w", err)
	}
	docker, err := connect()
	if err != nil {
		return nil, err
	}
	d := &Driver{stateDir: stateDir, mirrorDir: os.Getenv(MirrorEnv), account: aws.Open(stateDir), docker: docker}
	d.rounds = &coalescer[outcome]{run: d.follow}
	return d, nil
}

// fault is what could not be made as the account says.
type fault struct {
	// about are the ids of what it concerns; nil is everything.
	about []string
	err   error
}

// outcome is what a round achieved.
type outcome struct {
	faults []fault
	// running are the containers of machines that run, by instance id.
	running map[string]string
}

// Apply implements aws.Machines. When it returns for an instance, that has booted.
func (d *Driver) Apply(ctx context.Context, id string) error {
	result, err := d.rounds.do(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range result.faults {
		if f.about == nil || slices.Contains(f.about, id) {
			errs = append(errs, f.err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if box, ok := result.running[id]; ok {
		return d.booted(ctx, box)
	}
	return nil
}

// follow makes everything as the account says, one process at a time.
func (d *Driver) follow(ctx context.Context) (result outcome) {
	unlock, err := lock(ctx, filepath.Join(d.stateDir, directory+".lock"))
	if err != nil {
		return outcome{faults: []fault{{err: err}}}
	}
	defer unlock()
	w, err := read(d.account)
	if err != nil {
		return outcome{faults: []fault{{err: err}}}
	}
	return d.converge(ctx, w)
}

// converge makes what is wanted, and removes all else that is labelled. What fails for one machine stops no other.
func (d *Driver) converge(ctx context.Context, w wanted) (result outcome) {
	found, err := d.find(ctx)
	if err != nil {
		return outcome{faults: []fault{{err: err}}}
	}
	fail := func(err error, about ...string) {
		if err != nil {
			result.faults = append(result.faults, fault{about, err})
		}
	}
	for _, f := range d.removeOthers(ctx, found, w) {
		fail(f.err, f.about...)
	}
	claimed, err := w.claimed()
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
		about := []string{n.ID}
		for _, m := range w.machines {
			if m.VPCID == n.ID {
				about = append(about, m.ID)
			}
		}
		if _, ok := found.networks[n.ID]; !ok {
			if err := d.createNetwork(ctx, n); err != nil {
				fail(err, about...)
				continue
			}
		}
		fail(attach(n, w), about...)
		fail(d.serve(ctx, n, found.boxes[n.ID]), about...)
	}
	if err := translate(d.stateDir, w); err != nil {
		fail(err)
	}
	faults := make([]error, len(w.machines))
	result.running = map[string]string{}
	boxes := make([]string, len(w.machines))
	inParallel(w.machines, func(i int, m machine) {
		boxes[i], faults[i] = d.run(ctx, m, found.boxes[m.ID])
	})
	for i, m := range w.machines {
		fail(faults[i], append([]string{m.ID}, m.SecurityGroupIDs...)...)
		if boxes[i] != "" {
			result.running[m.ID] = boxes[i]
		}
	}
	if len(w.networks) == 0 {
		if err := os.RemoveAll(filepath.Join(d.stateDir, directory)); err != nil {
			fail(fmt.Errorf("removing the machines' files: %w", err))
		}
	}
	return result
}

// found is what Docker has, by the ids in the account that it stands for.
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

// removeOthers removes what is not wanted, with its disks: machines first, as they hold their networks.
func (d *Driver) removeOthers(ctx context.Context, f found, w wanted) (faults []fault) {
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
			faults = append(faults, fault{[]string{id}, errs[i]})
		}
	}
	for id, n := range f.networks {
		if keep[id] {
			continue
		}
		if err := d.docker.NetworkRemove(ctx, n.ID); err != nil && !isNotFound(err) {
			faults = append(faults, fault{[]string{id}, fmt.Errorf("removing the network %s of %s: %w", n.Name, id, err)})
		}
	}
	return faults
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

// Restore starts what the account says runs and does not, as after this host was rebooted, and returns when it has
// booted.
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
	for _, f := range result.faults {
		errs = append(errs, f.err)
	}
	for _, box := range result.running {
		errs = append(errs, d.booted(ctx, box))
	}
	return errors.Join(errs...)
}

// Remove takes away everything that the machines of a state directory have on this host: containers with their
// disks, networks, addresses, translations. It needs no account.
func Remove(ctx context.Context, stateDir string) error {
	d, err := New(stateDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.docker.Close() }() // nothing was written
	_, statErr := os.Stat(filepath.Join(d.stateDir, directory))
	if _, err := d.docker.Ping(ctx); client.IsErrConnectionFailed(err) && errors.Is(statErr, os.ErrNotExist) {
		return nil // there never was a machine
	}
	if err := os.MkdirAll(d.stateDir, 0o755); err != nil {
		return fmt.Errorf("finding the state directory: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(d.stateDir, directory+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, f := range d.converge(ctx, wanted{}).faults {
		errs = append(errs, f.err)
	}
	return errors.Join(errs...)
}

// Machine is a machine that Docker has.
type Machine struct {
	// Name is the instance's Name tag, Container the container's name.
	Name, InstanceID, Container string
	// State is Docker's word: "running", "exited".
	State string
	// PublicIP is empty if it has none.
	PrivateIP, PublicIP string
}

// List lists the machines of a state directory by name.
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

// lock waits for a lock between processes, which ends with the process if nothing else.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the machines: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("locking the machines: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
