package provider

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	typSnapshot  = "aws:ebs/snapshot:Snapshot"
	typLifecycle = "aws:dlm/lifecyclePolicy:LifecyclePolicy"
)

// diskLog records what a provider does with disks.
type diskLog struct{ did []string }

func (d *diskLog) Snapshot(_ context.Context, snapshot, volume string) error {
	d.did = append(d.did, volume+" into "+snapshot)
	return nil
}

func (d *diskLog) Restore(_ context.Context, volume, snapshot string) error {
	d.did = append(d.did, snapshot+" onto "+volume)
	return nil
}

func TestAVolumeIsMadeOfASnapshot(t *testing.T) {
	w := newWorld(t)
	disks := &diskLog{}
	w.cloud.disks = disks
	source := w.volume("state", "eu-central-1a")
	assert.Empty(t, disks.did, "a new volume is empty")
	snapshot := w.make(typSnapshot, "before", in{"volumeId": source.id, "description": "before an upgrade"})
	assert.Regexp(t, "^snap-0[0-9a-f]{16}$", snapshot.id)
	assert.Equal(t, 10.0, snapshot.out("volumeSize"))
	assert.Equal(t, true, snapshot.out("encrypted"), "it is encrypted if the volume is")

	restored := w.make(typVolume, "restored", in{"availabilityZone": "eu-central-1b", "type": "gp3", "size": 20, "snapshotId": snapshot.id})
	assert.Equal(t, true, restored.out("encrypted"), "it is encrypted if the snapshot is")
	assert.Equal(t, []string{source.id + " into " + snapshot.id, snapshot.id + " onto " + restored.id}, disks.did)
	as := w.make(typVolume, "as-large", in{"availabilityZone": "eu-central-1a", "snapshotId": snapshot.id})
	assert.Equal(t, 10.0, as.out("size"))

	// The volume may be deleted, and so may the snapshot of which another was made.
	require.NoError(t, w.delete(source))
	require.NoError(t, w.delete(snapshot))
	for _, s := range []struct {
		snapshot any
		replaces bool
	}{{nil, false}, {snapshot.id, false}, {"snap-0dead", true}} {
		diff, err := w.cloud.kind(typVolume).Diff(context.Background(), w.changeRequest(restored, in{"snapshotId": s.snapshot}))
		require.NoError(t, err)
		assert.Equal(t, s.replaces, diff.Changed["snapshotId"].Replaces, "%v", s.snapshot)
		assert.Equal(t, !s.replaces, len(diff.Changed) == 0, "%v", s.snapshot)
	}
}

func TestVolumesOfSnapshotsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	source := w.volume("state", "eu-central-1a")
	snapshot := w.make(typSnapshot, "before", in{"volumeId": source.id})
	_, err := w.try(typVolume, "small", in{"availabilityZone": "eu-central-1a", "size": 5, "snapshotId": snapshot.id})
	assert.ErrorContains(t, err, "InvalidParameterValue: Volume of size 5GB is smaller than snapshot '"+snapshot.id+"', expect size >= 10GB")
	_, err = w.try(typVolume, "none", in{"availabilityZone": "eu-central-1a", "size": 10, "snapshotId": "snap-0dead"})
	assert.ErrorContains(t, err, "creating EBS Volume (none): operation error EC2: CreateVolume, api error InvalidSnapshot.NotFound: The snapshot 'snap-0dead' does not exist.")
	_, err = w.try(typSnapshot, "none", in{"volumeId": "vol-0dead"})
	assert.ErrorContains(t, err, "InvalidVolume.NotFound")
	w.configure(in{"region": "ap-northeast-2"})
	_, err = w.try(typVolume, "elsewhere", in{"availabilityZone": "ap-northeast-2a", "size": 10, "snapshotId": snapshot.id})
	assert.ErrorContains(t, err, "InvalidSnapshot.NotFound", "a snapshot belongs to a region")
}

func lifecycleInputs(role string, interval, keep any) in {
	return in{"description": "The state", "executionRoleArn": role, "policyDetails": in{
		"resourceTypes": []any{"VOLUME"}, "targetTags": in{"a": "b"}, "schedules": []any{in{
			"name": "all", "createRule": in{"interval": interval, "intervalUnit": "HOURS", "times": "00:00"}, "retainRule": in{"count": keep},
		}},
	}}
}

func TestLifecyclePolicies(t *testing.T) {
	w := newWorld(t)
	const service = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"dlm.amazonaws.com"}}]}`
	role := w.make(typRole, "backup", in{"name": "backup", "assumeRolePolicy": service})
	others := w.make(typRole, "node", in{"name": "node", "assumeRolePolicy": trust})
	arn, _ := role.out("arn").(string)
	policy := w.make(typLifecycle, "backup", lifecycleInputs(arn, 4, 42))
	assert.Regexp(t, "^policy-0[0-9a-f]{16}$", policy.id)
	_, err := w.update(policy, lifecycleInputs(arn, 12, 14))
	require.NoError(t, err)

	for _, wrong := range []string{"arn:aws:iam::123456789012:role/none", others.out("arn").(string)} {
		_, err := w.try(typLifecycle, "refused", lifecycleInputs(wrong, 4, 42))
		assert.ErrorContains(t, err, "InvalidRequestException")
	}
	unclear := lifecycleInputs(arn, 4, 42)
	unclear["description"] = "the cluster's state"
	for name, inputs := range map[string]in{
		"an interval": lifecycleInputs(arn, 5, 42), "too few": lifecycleInputs(arn, 4, 0), "too many": lifecycleInputs(arn, 4, 1001), "a quote": unclear,
	} {
		_, failures := w.check(typLifecycle, "refused", inputs)
		assert.Len(t, failures, 1, name)
	}
}
