package docker

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

	"golang.org/x/sys/unix"

	"eco2/rehearsal/cloud/aws"
)

const (
	// DisksDirectory is the subdirectory of the state directory with the contents of EBS volumes.
	DisksDirectory = "disks"
	// disksFile lists the volumes of a machine, for image/disks: a line with the id and the device's numbers for each.
	disksFile = "disks"
)

// disk is an EBS volume of the program. Its content is a sparse file in the state directory, which is a loop device of
// this host while the volume is attached. The machine has the device under the name that an EC2 machine with NVMe disks
// has for it. Volumes that controllers create for pods are not modelled as devices.
type disk struct {
	id  string
	GiB int
}

// disksOf returns the volumes that are attached to an instance, sorted by their ids.
func disksOf(volumes []aws.Volume, instance string) (disks []disk) {
	for _, v := range volumes {
		if v.URN != "" && v.InstanceID == instance {
			disks = append(disks, disk{v.ID, v.SizeGiB})
		}
	}
	slices.SortFunc(disks, func(a, b disk) int { return strings.Compare(a.id, b.id) })
	return disks
}

func (d *Driver) content(volume string) string {
	return filepath.Join(d.stateDir, DisksDirectory, volume+".img")
}

// attach makes loop devices of a machine's volumes, and returns the text of the machine's disksFile.
func (d *Driver) attach(ctx context.Context, disks []disk) (string, error) {
	var lines strings.Builder
	for _, disk := range disks {
		device, err := d.loopDevice(ctx, disk)
		if err != nil {
			return "", fmt.Errorf("attaching volume %s: %w", disk.id, err)
		}
		var info unix.Stat_t
		if err := unix.Stat(device, &info); err != nil {
			return "", fmt.Errorf("attaching volume %s: %w", disk.id, err)
		}
		fmt.Fprintf(&lines, "%s %d %d\n", disk.id, unix.Major(info.Rdev), unix.Minor(info.Rdev))
	}
	return strings.TrimSuffix(lines.String(), "\n"), nil
}

// loopDevice returns the loop device of a volume. It creates the volume's file and the device if they do not exist.
func (d *Driver) loopDevice(ctx context.Context, disk disk) (string, error) {
	path := d.content(disk.id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	info, err := file.Stat()
	if size := int64(disk.GiB) << 30; err == nil && info.Size() < size {
		err = file.Truncate(size)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	if device, err := loopDeviceOf(ctx, path); err != nil || device != "" {
		return device, err
	}
	return losetup(ctx, "--find", "--show", path)
}

// Snapshot implements aws.Disks. The copy is as if the machine had lost power at that moment: a file system that is
// mounted is frozen meanwhile.
func (d *Driver) Snapshot(ctx context.Context, snapshot, volume string) error {
	unlock, err := lock(ctx, d.stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	source := d.content(volume)
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		return nil // a volume that was never attached
	}
	err = d.whileFrozen(ctx, source, func() error { return copyDisk(ctx, source, d.content(snapshot)) })
	if err != nil {
		return fmt.Errorf("copying volume %s into snapshot %s: %w", volume, snapshot, err)
	}
	return nil
}

// Restore implements aws.Disks.
func (d *Driver) Restore(ctx context.Context, volume, snapshot string) error {
	unlock, err := lock(ctx, d.stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(d.content(snapshot)); errors.Is(err, fs.ErrNotExist) {
		return nil // the snapshot of an empty volume
	}
	if err := copyDisk(ctx, d.content(snapshot), d.content(volume)); err != nil {
		return fmt.Errorf("copying snapshot %s onto volume %s: %w", snapshot, volume, err)
	}
	return nil
}

// copyDisk copies a sparse file. It has its name only when it is complete.
func copyDisk(ctx context.Context, from, to string) error {
	if output, err := exec.CommandContext(ctx, "cp", "--reflink=auto", "--sparse=always", from, to+".new").CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return os.Rename(to+".new", to)
}

// whileFrozen calls do while nothing changes the file system in a file. If it is mounted nowhere, nothing does anyway.
func (d *Driver) whileFrozen(ctx context.Context, file string, do func() error) (err error) {
	device, err := loopDeviceOf(ctx, file)
	if err != nil || device == "" {
		return errors.Join(err, do())
	}
	mounted, err := mountOf(device)
	if err != nil {
		return err
	}
	if mounted == "" {
		return do()
	}
	if output, err := exec.CommandContext(ctx, "fsfreeze", "--freeze", mounted).CombinedOutput(); err != nil {
		return fmt.Errorf("freezing the file system: %w: %s", err, strings.TrimSpace(string(output)))
	}
	defer func() {
		// Without the context: a file system that stays frozen would block the machine.
		output, thaw := exec.Command("fsfreeze", "--unfreeze", mounted).CombinedOutput()
		if thaw != nil {
			thaw = fmt.Errorf("unfreezing the file system: %w: %s", thaw, strings.TrimSpace(string(output)))
		}
		err = errors.Join(err, thaw)
	}()
	return do()
}

// mountOf returns a path at which this process reaches the file system on a device, or an empty string if it is mounted
// in no machine. A machine has mounts of its own, which its processes list.
func mountOf(device string) (string, error) {
	var info unix.Stat_t
	if err := unix.Stat(device, &info); err != nil {
		return "", err
	}
	number := fmt.Sprintf("%d:%d", unix.Major(info.Rdev), unix.Minor(info.Rdev))
	processes, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return "", err
	}
	seen := map[string]bool{}
	for _, path := range processes {
		process := filepath.Dir(path)
		namespace, err := os.Readlink(filepath.Join(process, "ns/mnt"))
		if err != nil || seen[namespace] {
			continue // the process has ended
		}
		seen[namespace] = true
		mounts, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(mounts)) {
			// The third field is the device, the fifth where it is mounted.
			if fields := strings.Fields(line); len(fields) > 4 && fields[2] == number {
				return filepath.Join(process, "root", fields[4]), nil
			}
		}
	}
	return "", nil
}

// loopDeviceOf returns the loop device of a file, or an empty string if there is none.
func loopDeviceOf(ctx context.Context, path string) (string, error) {
	output, err := losetup(ctx, "--associated", path, "--noheadings", "--output", "NAME")
	device, _, _ := strings.Cut(output, "\n")
	return strings.TrimSpace(device), err
}

func losetup(ctx context.Context, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, "losetup", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("losetup %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return strings.TrimSpace(string(output)), nil
}

// removeDisks removes the loop devices and the contents of volumes and snapshots that are not among the given ones.
func (d *Driver) removeDisks(ctx context.Context, volumes []aws.Volume, snapshots []aws.Snapshot) error {
	contents, err := os.ReadDir(filepath.Join(d.stateDir, DisksDirectory))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the disks: %w", err)
	}
	var errs []error
	for _, entry := range contents {
		id := strings.TrimSuffix(entry.Name(), ".img")
		if slices.ContainsFunc(volumes, func(v aws.Volume) bool { return v.ID == id }) ||
			slices.ContainsFunc(snapshots, func(s aws.Snapshot) bool { return s.ID == id }) {
			continue
		}
		path := filepath.Join(d.stateDir, DisksDirectory, entry.Name())
		device, err := loopDeviceOf(ctx, path)
		if err == nil && device != "" {
			_, err = losetup(ctx, "--detach", device)
		}
		errs = append(errs, err, os.Remove(path))
	}
	return errors.Join(errs...)
}

// updateDisks gives a running machine the devices of its volumes.
func (d *Driver) updateDisks(ctx context.Context, box string, files files, text string) error {
	if files.holds(disksFile, text) {
		return nil
	}
	// A booting machine may still create those of the old file.
	if err := d.awaitBoot(ctx, box); err != nil {
		return err
	}
	if err := files.write(disksFile, text); err != nil {
		return err
	}
	output, exit, err := d.exec(ctx, box, "/usr/local/sbin/disks")
	if err == nil && exit != 0 {
		err = fmt.Errorf("exit code %d%s", exit, indented(output))
	}
	if err != nil {
		return fmt.Errorf("changing its disks: %w", err)
	}
	return nil
}
