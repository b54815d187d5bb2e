package infra

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ebs"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

const (
	// stateGiB is the size of the state volume. etcd's database is limited to 2 GiB; its log, its snapshots and a copy
	// during a defragmentation need about as much again.
	stateGiB = 10
	// stateDevice is the name of the state volume's attachment, one of those that AWS recommends for data volumes. On
	// machines with NVMe disks, Linux has another name for the device: cluster/scripts/mount.sh finds it.
	stateDevice = "/dev/sdf"
)

// stateVolumeArgs holds the inputs of a state volume.
type stateVolumeArgs struct {
	ClusterName      string
	AvailabilityZone string
	// SnapshotID is the snapshot of which the volume is made, or empty.
	SnapshotID string
	Protect    bool
}

// newStateVolume declares the disk with the cluster's state: etcd's data, the private keys of the cluster's certificate
// authorities, and the key that encrypts secrets. It is a resource of its own, so that it outlives the machine: a new
// machine finds the cluster on it. It has no tag by which the EBS CSI driver could delete it or attach it elsewhere: see
// ebsPolicy.
func newStateVolume(ctx *pulumi.Context, name string, args *stateVolumeArgs, opts ...pulumi.ResourceOption) (*ebs.Volume, error) {
	// Another snapshot replaces the volume. The new one is created first, so a snapshot that does not exist changes nothing.
	var snapshot pulumi.StringPtrInput
	if args.SnapshotID != "" {
		snapshot = pulumi.String(args.SnapshotID)
	}
	volume, err := ebs.NewVolume(ctx, name, &ebs.VolumeArgs{
		AvailabilityZone: pulumi.String(args.AvailabilityZone),
		Type:             pulumi.String("gp3"),
		Size:             pulumi.Int(stateGiB),
		SnapshotId:       snapshot,
		Encrypted:        pulumi.Bool(true),
		Tags: pulumi.StringMap{
			"Name":   pulumi.String(args.ClusterName + "-" + name),
			stateTag: pulumi.String(args.ClusterName),
		},
	}, append(opts,
		// It is the cluster. The machine is not protected, because it can be replaced.
		pulumi.Protect(args.Protect),
		// AWS deletes no volume that is attached, and detaches it when the machine has terminated. The provider tries again
		// until then.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: "10m"}))...)
	if err != nil {
		return nil, fmt.Errorf("creating volume %s: %w", name, err)
	}
	return volume, nil
}

// attachStateVolume declares the attachment of the state volume to the control plane's machine.
func attachStateVolume(ctx *pulumi.Context, name string, volume *ebs.Volume, instance *ec2.Instance, opts ...pulumi.ResourceOption) (*ec2.VolumeAttachment, error) {
	attachment, err := ec2.NewVolumeAttachment(ctx, name, &ec2.VolumeAttachmentArgs{
		DeviceName: pulumi.String(stateDevice),
		InstanceId: instance.ID(),
		VolumeId:   volume.ID(),
	}, append(opts,
		// A terminated machine has no volumes. Detaching it first would have to wait until nothing on the machine uses it.
		pulumi.DeletedWith(instance),
		// A volume can be attached to one machine only.
		pulumi.DeleteBeforeReplace(true))...)
	if err != nil {
		return nil, fmt.Errorf("attaching volume %s: %w", name, err)
	}
	return attachment, nil
}

// firstAddress is the host number of the control plane's address in its subnet. AWS keeps the first four addresses of a
// subnet for itself.
const firstAddress = 10

// controlPlaneAddress returns the private address of the control plane's machine in its subnet. Workers and etcd know
// the control plane by it, so it must not change: if the cluster exists, it is the previous one.
func controlPlaneAddress(subnet netip.Prefix, previous string) string {
	if address, err := netip.ParseAddr(previous); err == nil && subnet.Contains(address) {
		return previous
	}
	address := subnet.Masked().Addr()
	for range firstAddress {
		address = address.Next()
	}
	return address.String()
}

// reserveControlPlaneAddress returns the control plane's private address. It declares a reservation, which keeps AWS from
// giving the address to anything that does not ask for it, such as another machine that starts at the same time, or a
// load balancer while the control plane's machine is replaced.
func reserveControlPlaneAddress(ctx *pulumi.Context, c config.Config, n *network, zone string, opts ...pulumi.ResourceOption) (string, *ec2.SubnetCidrReservation, error) {
	subnet, err := subnetCIDR(c.VpcCidr, zone)
	if err != nil {
		return "", nil, err
	}
	address := controlPlaneAddress(subnet, c.Previous.ControlPlane)
	reservation, err := ec2.NewSubnetCidrReservation(ctx, "control-plane", &ec2.SubnetCidrReservationArgs{
		SubnetId:        n.Subnets[slices.Index(c.Zones, zone)].ID(),
		CidrBlock:       pulumi.String(address + "/32"),
		ReservationType: pulumi.String("explicit"),
		Description:     pulumi.String("the control plane"),
	}, opts...)
	if err != nil {
		return "", nil, fmt.Errorf("reserving the address %s: %w", address, err)
	}
	return address, reservation, nil
}
