package provider

import (
	"context"
	"fmt"
	"hash/crc32"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

var volume = spec{
	title: "EBS Volume", service: "EC2", calls: calls{"CreateVolume", "ModifyVolume", "DeleteVolume"},
	inputs: inputs{
		"availabilityZone":   text(required, replaces),
		"encrypted":          flag(replaces, computed),
		"finalSnapshot":      flag(fallback(false)),
		"iops":               number(computed, between(100, 256000)),
		"kmsKeyId":           text(replaces, computed),
		"multiAttachEnabled": flag(replaces),
		"size":               number(computed, between(1, 16384)),
		"snapshotId":         text(replaces, computed),
		"throughput":         number(computed, between(125, 1000)),
		"type":               text(computed, oneOf("gp2", "gp3", "io1", "io2", "sc1", "st1", "standard")),
		"tags":               ownTags,
	},
	outputs: []string{"arn", "createTime"},
	timeout: 10 * time.Minute,
	check: func(in resource.PropertyMap) []plugin.Failure {
		if !has(in, "size") && !has(in, "snapshotId") {
			return []plugin.Failure{{Property: "size", Reason: `"size": one of ` + "`size,snapshot_id`" + ` must be specified`}}
		}
		return nil
	},
	create: func(c *call) error {
		zone := c.obj.Text("availabilityZone")
		if !slices.Contains(aws.ZonesOf(c.Region), zone) {
			return aws.Refuse("InvalidZone.NotFound", "The zone '%s' does not exist.", zone)
		}
		if err := c.fromSnapshot(); err != nil {
			return err
		}
		id := aws.NewID("vol")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "volume/"+id), "instance": "",
			"createTime": time.Now().UTC().Format(time.RFC3339)})
		// gp2 is the default of CreateVolume itself.
		for key, v := range map[string]any{"type": "gp2", "encrypted": false, "snapshotId": "", "kmsKeyId": "", "iops": 3000, "throughput": 125} {
			c.obj.SetDefault(key, v)
		}
		return nil
	},
	update: func(c *call) error {
		if c.obj.Number("size") < c.old.Number("size") {
			return aws.Refuse("InvalidParameterValue", "New size cannot be smaller than existing size")
		}
		return nil
	},
	disks: func(ctx context.Context, d aws.Disks, o aws.Object) error {
		if id := o.Text("snapshotId"); id != "" {
			return d.Restore(ctx, o.ID(), id)
		}
		return nil
	},
	remove: func(c *call) error {
		if at := c.obj.Text("instance"); at != "" {
			return &aws.Error{Code: "VolumeInUse", Message: fmt.Sprintf("Volume %s is currently attached to %s", c.obj.ID(), at),
				UsedBy: []string{at}, Retryable: true}
		}
		return nil
	},
}

// fromSnapshot checks the snapshot that a volume is made of, if there is one. It must be in the volume's region. The volume
// is at least as large, and encrypted if the snapshot is.
func (c *call) fromSnapshot() error {
	id := c.obj.Text("snapshotId")
	if id == "" {
		return nil
	}
	from, err := c.Find(aws.SnapshotKind, id)
	if err != nil {
		return err
	}
	if from == nil || from.Text("_region") != c.Region {
		return aws.Refuse(aws.Absent[aws.SnapshotKind][0], aws.Absent[aws.SnapshotKind][1], id)
	}
	size := from.Number("volumeSize")
	c.obj.SetDefault("size", size)
	if c.obj.Number("size") < size {
		return aws.Refuse("InvalidParameterValue", "Volume of size %.0fGB is smaller than snapshot '%s', expect size >= %.0fGB", c.obj.Number("size"), id, size)
	}
	if from.Flag("encrypted") {
		c.obj["encrypted"] = true
	}
	return nil
}

// deviceNames matches the names that AWS accepts for the attachment of a volume to an HVM instance.
var deviceNames = regexp.MustCompile(`^(/dev/)?(sd[b-z]|xvd[b-z]|xvd[b-c][a-z])$`)

var volumeAttachment = spec{
	title: "EBS Volume Attachment", service: "EC2", calls: calls{"AttachVolume", "AttachVolume", "DetachVolume"},
	affects: func(o aws.Object) string { return o.Text("instanceId") },
	inputs: inputs{
		"deviceName":                  text(required, replaces),
		"instanceId":                  text(required, replaces),
		"volumeId":                    text(required, replaces),
		"forceDetach":                 flag(),
		"skipDestroy":                 flag(),
		"stopInstanceBeforeDetaching": flag(),
	},
	create: func(c *call) error {
		device := c.obj.Text("deviceName")
		if !deviceNames.MatchString(device) {
			return aws.Refuse("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
		}
		machine, err := c.Require("instance", c.obj.Text("instanceId"))
		if err != nil {
			return err
		}
		disk, err := c.Require(aws.VolumeKind, c.obj.Text("volumeId"))
		if err != nil {
			return err
		}
		others, err := c.Where("volumeAttachment", "instanceId", machine.ID())
		if err != nil {
			return err
		}
		switch {
		case disk.Text("instance") != "":
			return aws.Refuse("VolumeInUse", "%s is already attached to an instance", disk.ID())
		case disk.Text("availabilityZone") != machine.Text("availabilityZone"):
			return aws.Refuse("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", disk.ID(), machine.ID())
		case device == rootDevice || slices.ContainsFunc(others, func(o aws.Object) bool { return o.Text("deviceName") == device }):
			return aws.Refuse("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
		disk["instance"] = machine.ID()
		c.obj["id"] = attachmentID(device, machine.ID(), disk.ID())
		return c.Keep(aws.VolumeKind, disk)
	},
	remove: func(c *call) error {
		disk, err := c.Find(aws.VolumeKind, c.obj.Text("volumeId"))
		if err != nil || disk == nil || disk.Text("instance") != c.obj.Text("instanceId") {
			return err
		}
		disk["instance"] = ""
		return c.Keep(aws.VolumeKind, disk)
	},
}

// attachmentID returns the ID that the provider makes for an attachment, which has none in AWS.
func attachmentID(device, instance, volume string) string {
	return fmt.Sprintf("vai-%d", crc32.ChecksumIEEE([]byte(device+"-"+instance+"-"+volume+"-")))
}

var subnetCIDRReservation = spec{
	title: "EC2 Subnet CIDR Reservation", service: "EC2",
	calls: calls{"CreateSubnetCidrReservation", "CreateSubnetCidrReservation", "DeleteSubnetCidrReservation"},
	inputs: inputs{
		"cidrBlock":       text(required, replaces, valid(networkOfSize(0, 32))),
		"description":     text(replaces),
		"reservationType": text(required, replaces, oneOf("explicit", "prefix")),
		"subnetId":        text(required, replaces),
	},
	outputs: []string{"ownerId"},
	create: func(c *call) error {
		sub, err := c.Require("subnet", c.obj.Text("subnetId"))
		if err != nil {
			return err
		}
		cidr, whole := netip.MustParsePrefix(c.obj.Text("cidrBlock")), netip.MustParsePrefix(sub.Text("cidrBlock"))
		if !whole.Overlaps(cidr) || whole.Bits() > cidr.Bits() {
			return aws.Refuse("InvalidCidrReservation.Range", "The CIDR reservation '%s' is not within the CIDR of subnet '%s'.", cidr, sub.ID())
		}
		others, err := c.Where("subnetCidrReservation", "subnetId", sub.ID())
		if err != nil {
			return err
		}
		for _, other := range others {
			if netip.MustParsePrefix(other.Text("cidrBlock")).Overlaps(cidr) {
				return aws.Refuse("InvalidCidrReservation.Conflict", "The CIDR reservation '%s' conflicts with '%s'.", cidr, other.ID())
			}
		}
		c.fill(aws.Object{"id": "scr-" + strings.TrimPrefix(aws.NewID("scr"), "scr-"), "ownerId": aws.AccountID})
		return nil
	},
}
