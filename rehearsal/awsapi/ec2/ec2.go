// Package ec2 is how controllers of the rehearsal speak to its EC2.
package ec2

// Service is the name in addresses and signatures.
const Service = "ec2"

// The operations, with what each takes and answers.
const (
	DescribeSubnets     = "EC2.DescribeSubnets"     // InVPC, Subnets
	DescribeInstances   = "EC2.DescribeInstances"   // InVPC, Instances
	DescribeVolumes     = "EC2.DescribeVolumes"     // VolumeIDs, Volumes
	CreateVolume        = "EC2.CreateVolume"        // NewVolume, Volume
	DeleteVolume        = "EC2.DeleteVolume"        // VolumeID, nothing
	AttachVolume        = "EC2.AttachVolume"        // Attachment, nothing
	DetachVolume        = "EC2.DetachVolume"        // Attachment, nothing
	CreateSecurityGroup = "EC2.CreateSecurityGroup" // NewSecurityGroup; always refused
)

// InVPC chooses what is in a network.
type InVPC struct{ VpcID string }

// Subnets is a list of them.
type Subnets struct{ Subnets []Subnet }

// Subnet is a part of a network in one zone.
type Subnet struct {
	SubnetID, VpcID, CidrBlock, AvailabilityZone string
	Tags                                         map[string]string
}

// Instances is a list of them.
type Instances struct{ Instances []Instance }

// Instance is a machine.
type Instance struct {
	InstanceID, PrivateDNSName, PrivateIPAddress, AvailabilityZone string
	// State is "running", "stopped", …
	State string
	Tags  map[string]string
}

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

// NewSecurityGroup asks for one.
type NewSecurityGroup struct{ VpcID, GroupName string }
