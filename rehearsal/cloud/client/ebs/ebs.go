// Package ebs defines the protocol between the rehearsal's volume controller and its EC2. The operations are custom, as
// those of AWS have more settings than the controller needs, but they require the same permissions.
package ebs

// Service is the service's name in addresses and signatures.
const Service = "ec2"

// The operations. The comments name the types of input and output; "nothing" is an empty object.
const (
	DescribeVolumes = "EC2.DescribeVolumes" // VolumeIDs, Volumes
	CreateVolume    = "EC2.CreateVolume"    // NewVolume, Volume
	DeleteVolume    = "EC2.DeleteVolume"    // VolumeID, nothing
	AttachVolume    = "EC2.AttachVolume"    // Attachment, nothing
	DetachVolume    = "EC2.DetachVolume"    // Attachment, nothing
)

// VolumeIDs selects volumes; if it is empty, all volumes that controllers created.
type VolumeIDs struct {
	VolumeIDs []string `json:",omitempty"`
}

// Volumes is a list of volumes.
type Volumes struct{ Volumes []Volume }

// Volume is an EBS volume other than an instance's root disk.
type Volume struct {
	VolumeID, AvailabilityZone string
	Size                       int // in GiB
	// InstanceID is the instance that it is attached to, or empty.
	InstanceID string `json:",omitempty"`
	Tags       map[string]string
}

// NewVolume describes a volume to create. If the ClientToken was used before, the response is the volume that was
// created with it.
type NewVolume struct {
	ClientToken      string
	AvailabilityZone string
	Size             int // in GiB
	Tags             map[string]string
}

// VolumeID identifies a volume.
type VolumeID struct{ VolumeID string }

// Attachment identifies a volume and the instance to attach it to or detach it from.
type Attachment struct{ VolumeID, InstanceID string }
