package api

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
)

// snapshotted lists what a policy copied.
type snapshotted struct{ volumes []string }

func (s *snapshotted) Snapshot(_ context.Context, _, volume string) error {
	s.volumes = append(s.volumes, volume)
	return nil
}

func (s *snapshotted) Restore(context.Context, string, string) error { return nil }

// newBackup returns an account with a policy that keeps two snapshots, and two volumes, of which one has the tag. The
// role has a policy with these statements.
func newBackup(t *testing.T, statements string) *aws.Account {
	t.Helper()
	account := aws.Open(t.TempDir())
	require.NoError(t, account.Update("eu-central-1", func(tx aws.Tx) error {
		for kind, o := range map[string]aws.Object{
			"role":       {"id": "backup", "name": "backup", "arn": "arn:aws:iam::123456789012:role/backup"},
			"rolePolicy": {"id": "backup:snapshots", "name": "snapshots", "role": "backup", "policy": `{"Statement":` + statements + `}`},
			aws.LifecyclePolicyKind: {"id": "policy-0", "state": "ENABLED", "executionRoleArn": "arn:aws:iam::123456789012:role/backup",
				"policyDetails": map[string]any{"targetTags": map[string]any{"state": "eco2-dev"}, "schedules": []any{map[string]any{
					"name": "all", "tagsToAdd": map[string]any{"state": "eco2-dev"}, "retainRule": map[string]any{"count": 2.0}}}}},
		} {
			if err := tx.Keep(kind, o); err != nil {
				return err
			}
		}
		for id, tag := range map[string]string{"vol-1": "eco2-dev", "vol-2": "eco2-prod"} {
			err := tx.Keep(aws.VolumeKind, aws.Object{"id": id, "size": 10, "encrypted": true, "tagsAll": map[string]any{"state": tag}})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	return account
}

const backupStatements = `[
	{"Effect": "Allow", "Action": ["ec2:DescribeVolumes", "ec2:DescribeSnapshots"], "Resource": "*"},
	{"Effect": "Allow", "Action": "ec2:CreateSnapshot", "Resource": "arn:aws:ec2:eu-central-1:123456789012:volume/*",
		"Condition": {"StringEquals": {"aws:ResourceTag/state": "eco2-dev"}}},
	{"Effect": "Allow", "Action": ["ec2:CreateSnapshot", "ec2:CreateTags"], "Resource": "arn:aws:ec2:eu-central-1::snapshot/*"},
	{"Effect": "Allow", "Action": "ec2:DeleteSnapshot", "Resource": "arn:aws:ec2:eu-central-1::snapshot/*",
		"Condition": {"StringEquals": {"aws:ResourceTag/state": "eco2-dev"}}}]`

func TestALifecyclePolicyKeepsTheNewestSnapshots(t *testing.T) {
	account, disks := newBackup(t, backupStatements), &snapshotted{}
	var made []string
	for range 3 {
		ids, err := RunLifecyclePolicy(t.Context(), account, "eu-central-1", "policy-0", disks)
		require.NoError(t, err)
		require.Len(t, ids, 1)
		made = append(made, ids...)
	}
	assert.Equal(t, []string{"vol-1", "vol-1", "vol-1"}, disks.volumes)
	snapshots, err := account.Snapshots()
	require.NoError(t, err)
	var left []string
	for _, s := range snapshots {
		left = append(left, s.ID)
		assert.Equal(t, "policy-0", s.Tags["aws:dlm:lifecycle-policy-id"])
		assert.Equal(t, "eco2-dev", s.Tags["state"])
		assert.True(t, s.Encrypted)
		assert.Equal(t, 10, s.SizeGiB)
	}
	assert.ElementsMatch(t, made[1:], left)
}

func TestALifecyclePolicyMayOnlyDoWhatItsRoleMay(t *testing.T) {
	for action, without := range map[string]string{
		"ec2:CreateSnapshot": strings.Replace(backupStatements, `"ec2:CreateSnapshot", "Resource": "arn:aws:ec2:eu-central-1:123456789012:volume/*"`, `"ec2:CreateSnapshot", "Resource": "arn:aws:ec2:us-east-1:123456789012:volume/*"`, 1),
		"ec2:CreateTags":     strings.Replace(backupStatements, `, "ec2:CreateTags"`, "", 1),
		"ec2:DeleteSnapshot": strings.Replace(backupStatements, "ec2:DeleteSnapshot", "ec2:DeleteVolume", 1),
	} {
		require.NotEqual(t, backupStatements, without, action)
		account := newBackup(t, without)
		var err error
		for range 3 {
			if _, failed := RunLifecyclePolicy(t.Context(), account, "eu-central-1", "policy-0", nil); failed != nil {
				err = failed
			}
		}
		assert.ErrorContains(t, err, "may not "+action, action)
	}
	_, err := RunLifecyclePolicy(t.Context(), newBackup(t, backupStatements), "eu-central-1", "policy-1", nil)
	assert.ErrorContains(t, err, "ResourceNotFoundException")
}
