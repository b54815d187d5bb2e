package provider

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	typVolume      = "aws:ebs/volume:Volume"
	typVolumeLink  = "aws:ec2/volumeAttachment:VolumeAttachment"
	typReservation = "aws:ec2/subnetCidrReservation:SubnetCidrReservation"
)

func (w *world) volume(name, zone string) made {
	w.Helper()
	return w.make(typVolume, name, in{"availabilityZone": zone, "type": "gp3", "size": 10, "encrypted": true, "tags": in{"Name": name}})
}

func (w *world) attach(volume, machine made, device string) (made, error) {
	w.Helper()
	return w.try(typVolumeLink, volume.name, in{"volumeId": volume.id, "instanceId": machine.id, "deviceName": device})
}

func TestAVolumeIsAttachedToOneMachineOfItsZone(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	other := w.make(typInstance, "other", c.machine(nil))
	state, elsewhere, more := w.volume("state", "eu-central-1a"), w.volume("elsewhere", "eu-central-1b"), w.volume("more", "eu-central-1a")
	link, err := w.attach(state, c.node, "/dev/sdf")
	require.NoError(t, err)
	assert.Regexp(t, `^vai-\d+$`, link.id)
	for _, s := range []struct {
		volume, machine made
		device, message string
	}{
		{state, other, "/dev/sdf", "VolumeInUse: " + state.id + " is already attached to an instance"},
		{elsewhere, other, "/dev/sdf", "InvalidVolume.ZoneMismatch: The volume '" + elsewhere.id + "' is not in the same availability zone as instance '" + other.id + "'"},
		{more, c.node, "/dev/sdf", "Attachment point /dev/sdf is already in use"},
		{more, c.node, "/dev/sda1", "/dev/sda1 is not a valid EBS device name"},
		{more, c.node, "/dev/nvme1n1", "/dev/nvme1n1 is not a valid EBS device name"},
		{made{id: "vol-0dead"}, other, "/dev/sdf", "InvalidVolume.NotFound: The volume 'vol-0dead' does not exist."},
		{more, made{id: "i-0dead"}, "/dev/sdf", "InvalidInstanceID.NotFound: The instance ID 'i-0dead' does not exist"},
	} {
		_, err := w.attach(s.volume, s.machine, s.device)
		assert.ErrorContains(t, err, s.message)
	}
	assert.EqualError(t, w.delete(state), "deleting EBS Volume ("+state.id+"): operation error EC2: DeleteVolume, api error VolumeInUse: Volume "+
		state.id+" is currently attached to "+c.node.id+" (in use by: "+c.node.id+")")

	// A terminated machine has no volumes: they outlive it, and their attachments do not.
	require.NoError(t, w.delete(c.link))
	require.NoError(t, w.delete(c.node))
	_, out, err := w.cloud.kind(typVolumeLink).Read(t.Context(), w.changeRequest(link, nil))
	require.NoError(t, err)
	assert.Empty(t, out)
	again, err := w.attach(state, other, "/dev/sdf")
	require.NoError(t, err)
	require.NoError(t, w.delete(again))
	require.NoError(t, w.delete(state))
}

func TestVolumesGrowOnly(t *testing.T) {
	w := newWorld(t)
	v := w.volume("state", "eu-central-1a")
	bigger, err := w.update(v, in{"size": 20})
	require.NoError(t, err)
	_, err = w.update(bigger, in{"size": 10})
	assert.ErrorContains(t, err, "ModifyVolume, api error InvalidParameterValue: New size cannot be smaller than existing size")
	_, failures := w.check(typVolume, "none", in{"availabilityZone": "eu-central-1a"})
	require.Len(t, failures, 1)
	assert.Contains(t, failures[0].Reason, "size,snapshot_id")
	_, err = w.try(typVolume, "nowhere", in{"availabilityZone": "eu-central-1z", "size": 1})
	assert.ErrorContains(t, err, "InvalidZone.NotFound: The zone 'eu-central-1z' does not exist.")
}

// AWS gives a reserved address only to those who ask for it.
func TestReservedAddressesAreNotAssigned(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	reserve := func(cidr string) (made, error) {
		return w.try(typReservation, "r", in{"subnetId": c.subnet.id, "cidrBlock": cidr, "reservationType": "explicit"})
	}
	reservation, err := reserve("10.0.0.5/32")
	require.NoError(t, err)
	first := w.make(typInstance, "first", c.machine(nil))
	assert.Equal(t, "10.0.0.6", first.out("privateIp"), "10.0.0.4 is that of the cluster's machine")
	asks := w.make(typInstance, "asks", c.machine(in{"privateIp": "10.0.0.5"}))
	assert.Equal(t, "10.0.0.5", asks.out("privateIp"))
	_, err = reserve("10.0.0.4/30")
	assert.ErrorContains(t, err, "InvalidCidrReservation.Conflict")
	_, err = reserve("10.1.0.0/28")
	assert.ErrorContains(t, err, "InvalidCidrReservation.Range")

	require.NoError(t, w.delete(asks))
	require.NoError(t, w.delete(reservation))
	assert.Equal(t, "10.0.0.5", w.make(typInstance, "later", c.machine(nil)).out("privateIp"))
}
