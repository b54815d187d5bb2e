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
	// disksDirectory is the subdirectory of the state directory with the contents of EBS volumes.
	disksDirectory = "disks"
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
	return filepath.Join(d.stateDir, disksDirectory, volume+".img")
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

// removeDisks removes the loop devices and the contents of volumes that are not among the given ones.
func (d *Driver) removeDisks(ctx context.Context, volumes []aws.Volume) error {
	contents, err := os.ReadDir(filepath.Join(d.stateDir, disksDirectory))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the disks: %w", err)
	}
	var errs []error
	for _, entry := range contents {
		id := strings.TrimSuffix(entry.Name(), ".img")
		if slices.ContainsFunc(volumes, func(v aws.Volume) bool { return v.ID == id }) {
			continue
		}
		device, err := loopDeviceOf(ctx, d.content(id))
		if err == nil && device != "" {
			_, err = losetup(ctx, "--detach", device)
		}
		errs = append(errs, err, os.Remove(d.content(id)))
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
