package api

import (
	"maps"
	"slices"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/client/ebs"
)

type nothing struct{}

func (c *call) describeVolumes(in ebs.VolumeIDs) (ebs.Volumes, error) {
	out := ebs.Volumes{Volumes: []ebs.Volume{}}
	if err := c.authorize("ec2:DescribeVolumes", "*", nil); err != nil {
		return out, err
	}
	volumes, err := c.account.EveryVolume()
	if err != nil {
		return out, err
	}
	for _, v := range volumes {
		if len(in.VolumeIDs) == 0 || slices.Contains(in.VolumeIDs, v.ID) {
			out.Volumes = append(out.Volumes, described(v))
		}
	}
	for _, id := range in.VolumeIDs {
		if !slices.ContainsFunc(out.Volumes, func(v ebs.Volume) bool { return v.VolumeID == id }) {
			return out, noVolume(id)
		}
	}
	return out, nil
}

func described(v aws.Volume) ebs.Volume {
	return ebs.Volume{VolumeID: v.ID, AvailabilityZone: v.AvailabilityZone, Size: v.SizeGiB, InstanceID: v.InstanceID, Tags: v.Tags}
}

func noVolume(id string) error {
	return refuse("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

func (c *call) createVolume(in ebs.NewVolume) (ebs.Volume, error) {
	everyVolume, requested := c.arn("ec2", "volume/*"), tags("aws:RequestTag", in.Tags)
	if err := c.authorize("ec2:CreateVolume", everyVolume, requested); err != nil {
		return ebs.Volume{}, err
	}
	if len(in.Tags) > 0 {
		requested["ec2:CreateAction"] = []string{"CreateVolume"}
		if err := c.authorize("ec2:CreateTags", everyVolume, requested); err != nil {
			return ebs.Volume{}, err
		}
	}
	volumes, err := c.account.EveryVolume()
	if err != nil {
		return ebs.Volume{}, err
	}
	for _, v := range volumes {
		switch {
		case in.ClientToken == "" || v.ClientToken != in.ClientToken:
		case v.SizeGiB != in.Size || v.AvailabilityZone != in.AvailabilityZone:
			return ebs.Volume{}, refuse("IdempotentParameterMismatch", "The client token %s was used for another volume.", in.ClientToken)
		default:
			return described(v), nil
		}
	}
	subnets, err := c.account.Subnets()
	if err != nil {
		return ebs.Volume{}, err
	}
	switch {
	case !slices.ContainsFunc(subnets, func(s aws.Subnet) bool { return s.AvailabilityZone == in.AvailabilityZone }):
		return ebs.Volume{}, refuse("InvalidZone.NotFound", "The zone '%s' does not exist.", in.AvailabilityZone)
	case in.Size < 1 || in.Size > 16384:
		return ebs.Volume{}, refuse("InvalidParameterValue", "Volume of %dGiB is invalid; gp3 has 1 to 16384.", in.Size)
	}
	v := aws.Volume{
		ID: aws.NewVolumeID(), Name: in.Tags["Name"], SizeGiB: in.Size, AvailabilityZone: in.AvailabilityZone,
		Tags: map[string]string{}, ClientToken: in.ClientToken,
	}
	for key, value := range in.Tags {
		v.Tags[key] = value
	}
	return described(v), c.account.PutVolume(v)
}

// volume returns a volume, if the caller's role allows the action on it.
func (c *call) volume(action, id string) (aws.Volume, error) {
	volumes, err := c.account.EveryVolume()
	if err != nil {
		return aws.Volume{}, err
	}
	at := slices.IndexFunc(volumes, func(v aws.Volume) bool { return v.ID == id })
	if at < 0 {
		return aws.Volume{}, noVolume(id)
	}
	return volumes[at], c.authorize(action, c.arn("ec2", "volume/"+id), ec2Context(volumes[at].Tags))
}

// ec2Context returns the condition keys for the tags of the resource of a call. EC2 has its own key for them besides
// the general one.
func ec2Context(values map[string]string) map[string][]string {
	context := tags(resourceTag, values)
	maps.Copy(context, tags("ec2:ResourceTag", values))
	return context
}

func (c *call) deleteVolume(in ebs.VolumeID) (nothing, error) {
	v, err := c.volume("ec2:DeleteVolume", in.VolumeID)
	switch {
	case err != nil:
		return nothing{}, err
	case v.InstanceID != "":
		return nothing{}, refuse("VolumeInUse", "Volume %s is currently attached to %s", v.ID, v.InstanceID)
	}
	return nothing{}, c.account.DeleteVolume(v.ID)
}

// attachment returns the volume and the instance of an attach or detach, if both exist and the caller's role allows the
// action on both.
func (c *call) attachment(action string, in ebs.Attachment) (aws.Volume, aws.Instance, error) {
	v, err := c.volume(action, in.VolumeID)
	if err != nil {
		return v, aws.Instance{}, err
	}
	instances, err := c.account.Instances()
	if err != nil {
		return v, aws.Instance{}, err
	}
	at := slices.IndexFunc(instances, func(i aws.Instance) bool { return i.ID == in.InstanceID })
	if at < 0 {
		return v, aws.Instance{}, refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", in.InstanceID)
	}
	i := instances[at]
	return v, i, c.authorize(action, c.arn("ec2", "instance/"+i.ID), ec2Context(i.Tags))
}

func (c *call) attachVolume(in ebs.Attachment) (nothing, error) {
	v, i, err := c.attachment("ec2:AttachVolume", in)
	switch {
	case err != nil:
		return nothing{}, err
	case v.InstanceID != "":
		return nothing{}, refuse("VolumeInUse", "%s is already attached to an instance", v.ID)
	case v.AvailabilityZone != i.AvailabilityZone:
		return nothing{}, refuse("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.ID, i.ID)
	}
	v.InstanceID = i.ID
	return nothing{}, c.account.PutVolume(v)
}

func (c *call) detachVolume(in ebs.Attachment) (nothing, error) {
	v, i, err := c.attachment("ec2:DetachVolume", in)
	switch {
	case err != nil:
		return nothing{}, err
	case v.InstanceID != i.ID:
		return nothing{}, refuse("IncorrectState", "Volume '%s' is not attached to instance '%s'.", v.ID, i.ID)
	}
	v.InstanceID = ""
	return nothing{}, c.account.PutVolume(v)
}
