// Package ebs is how the rehearsal's controller of volumes speaks to EC2: in operations of its own, where those of AWS
// have more settings than it needs. They need the same rights.
package ebs

// Service is the name in addresses and signatures.
const Service = "ec2"

// The operations, with what each takes and answers.
const (
	DescribeVolumes = "EC2.DescribeVolumes" // VolumeIDs, Volumes
	CreateVolume    = "EC2.CreateVolume"    // NewVolume, Volume
	DeleteVolume    = "EC2.DeleteVolume"    // VolumeID, nothing
	AttachVolume    = "EC2.AttachVolume"    // Attachment, nothing
	DetachVolume    = "EC2.DetachVolume"    // Attachment, nothing
)

// VolumeIDs chooses volumes; without any, all that controllers made.
type VolumeIDs struct {
	VolumeIDs []string `json:",omitempty"`
}

// Volumes is a list of them.
type Volumes struct{ Volumes []Volume }

// Volume is a disk beside an instance's first.
type Volume struct {
	VolumeID, AvailabilityZone string
	Size                       int // in GiB
	// InstanceID is the machine that it is attached to, or empty.
	InstanceID string `json:",omitempty"`
	Tags       map[string]string
}

// NewVolume asks for one. A token that was used before is answered with the volume of that time.
type NewVolume struct {
	ClientToken      string
	AvailabilityZone string
	Size             int // in GiB
	Tags             map[string]string
}

// VolumeID names a volume.
type VolumeID struct{ VolumeID string }

// Attachment is a volume at an instance.
type Attachment struct{ VolumeID, InstanceID string }
