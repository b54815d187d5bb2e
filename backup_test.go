package main

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

const (
	volumeType    = "aws:ebs/volume:Volume"
	snapshotType  = "aws:ebs/snapshot:Snapshot"
	lifecycleType = "aws:dlm/lifecyclePolicy:LifecyclePolicy"
)

// updated runs the program with changed settings on a stack whose last update made these outputs.
func updated(t *testing.T, stack string, changes, previous map[string]any) *graph {
	t.Helper()
	values := settings(t, stack)
	maps.Copy(values, changes)
	made := map[string]any{"name": "eco2-" + stack, "platform": true, "kubernetes": config.DefaultVersions.Kubernetes}
	maps.Copy(made, previous)
	g, err := runAs(program, stack, values, made)
	require.NoError(t, err)
	return g
}

// The tag by which AWS finds the volume must be on nothing else: a snapshot of every volume with it would be made.
func TestOnlyTheStateIsBackedUp(t *testing.T) {
	g := mustRun(t, "prod")
	details := g.named(t, lifecycleType, "backup").Inputs["policyDetails"].ObjectValue()
	tags := details["targetTags"].ObjectValue()
	require.Len(t, tags, 1)
	var found []string
	for _, r := range g.resources {
		for _, field := range []resource.PropertyKey{"tags", "volumeTags", "rootBlockDevice"} {
			own := r.Inputs[field]
			if field == "rootBlockDevice" && own.IsObject() {
				own = own.ObjectValue()["tags"]
			}
			for key, value := range tags {
				if own.IsObject() && own.ObjectValue()[key].DeepEquals(value) {
					found = append(found, r.Name)
				}
			}
		}
	}
	assert.Equal(t, []string{"k8s-master-state"}, found)

	assert.Empty(t, mustRun(t, "dev").ofType(lifecycleType))
	off := updated(t, "prod", map[string]any{"eco2:backup": map[string]any{"everyHours": 0}}, nil)
	assert.Empty(t, off.ofType(lifecycleType))
	for _, role := range off.ofType("aws:iam/role:Role") {
		assert.NotEqual(t, "backup", role.Name)
	}
}

func TestTheBackupIsAsConfigured(t *testing.T) {
	g := updated(t, "dev", map[string]any{"eco2:backup": map[string]any{"everyHours": 12, "keep": 14}}, nil)
	schedule := g.named(t, lifecycleType, "backup").Inputs["policyDetails"].ObjectValue()["schedules"].ArrayValue()[0].ObjectValue()
	assert.Equal(t, 12.0, schedule["createRule"].ObjectValue()["interval"].NumberValue())
	assert.Equal(t, 14.0, schedule["retainRule"].ObjectValue()["count"].NumberValue())
}

// Whoever assumes the role can neither read the cluster's state nor delete snapshots of others.
func TestTheBackupMayDeleteItsOwnSnapshotsOnly(t *testing.T) {
	g := mustRun(t, "prod")
	policy := g.named(t, "aws:iam/rolePolicy:RolePolicy", "backup-snapshots")
	assert.True(t, g.dependsOn(g.named(t, lifecycleType, "backup"), policy), "AWS could be asked before it may")
	var document struct {
		Statement []struct {
			Action    []string
			Condition map[string]map[string][]string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(policy.Inputs["policy"].StringValue()), &document))
	allowed := map[string]map[string]map[string][]string{}
	for _, s := range document.Statement {
		for _, action := range s.Action {
			allowed[action] = s.Condition
		}
	}
	own := map[string]map[string][]string{"StringEquals": {"aws:ResourceTag/eco2.io/state": {"eco2-prod"}}}
	assert.Equal(t, own, allowed["ec2:DeleteSnapshot"])
	assert.Len(t, allowed, 6)
}

// Going back to a snapshot replaces the volume, and the machine with it: the old one would run on with an etcd whose
// disk is gone. The volume is protected before and after that update, and not in it.
func TestARestoreReplacesTheVolumeAndItsMachine(t *testing.T) {
	const snapshot = "snap-0123456789abcdef0"
	restore := map[string]any{"eco2:restoreFrom": snapshot}
	for name, test := range map[string]struct {
		changes, previous map[string]any
		snapshot          string
		protected         bool
	}{
		"before":       {nil, nil, "", true},
		"the restore":  {restore, nil, snapshot, false},
		"after it":     {restore, map[string]any{"restoreFrom": snapshot}, snapshot, true},
		"without it":   {nil, map[string]any{"restoreFrom": snapshot}, snapshot, true},
		"the next one": {restore, map[string]any{"restoreFrom": "snap-0fedcba9876543210"}, snapshot, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := updated(t, "prod", test.changes, test.previous)
			volume, machine := g.named(t, volumeType, "k8s-master-state"), g.named(t, instanceType, "k8s-master")
			if test.snapshot == "" {
				assert.False(t, volume.Inputs.HasValue("snapshotId"))
			} else {
				assert.Equal(t, test.snapshot, volume.Inputs["snapshotId"].StringValue())
			}
			assert.Equal(t, test.protected, volume.RPC.GetProtect())
			assert.False(t, volume.RPC.GetDeleteBeforeReplace(), "a snapshot that does not exist would leave no volume")
			assert.Equal(t, []string{volume.URN}, machine.RPC.GetReplaceWith())
			assert.Equal(t, test.snapshot, machine.RPC.GetReplacementTrigger().GetStringValue(),
				"an interrupted update would leave the machine with a volume that is gone")
			for _, other := range nodeNames()[1:] {
				assert.Empty(t, g.named(t, instanceType, other).RPC.GetReplaceWith(), other)
			}
		})
	}
}

// A snapshot is made before an upgrade of Kubernetes begins, and stays until the next one.
func TestAnUpgradeComesAfterASnapshot(t *testing.T) {
	wanted := config.DefaultVersions.Kubernetes
	for name, test := range map[string]struct {
		previous map[string]any
		want     string
	}{
		"no upgrade": {nil, ""},
		"an upgrade": {map[string]any{"kubernetes": "1.36.3", "snapshotBefore": "1.36.3"}, wanted},
		"after it":   {map[string]any{"snapshotBefore": wanted}, wanted},
	} {
		t.Run(name, func(t *testing.T) {
			g := updated(t, "prod", nil, test.previous)
			if test.want == "" {
				assert.Empty(t, g.ofType(snapshotType))
				return
			}
			require.Len(t, g.ofType(snapshotType), 1)
			snapshot := g.named(t, snapshotType, "before-kubernetes-"+test.want)
			assert.Equal(t, "before Kubernetes "+test.want, snapshot.Inputs["description"].StringValue())
			assert.Equal(t, []string{"volumeId"}, snapshot.RPC.GetIgnoreChanges(), "a restore would replace the snapshot")
			assert.True(t, g.dependsOn(snapshot, g.named(t, volumeType, "k8s-master-state")))
			assert.True(t, g.dependsOn(g.named(t, commandType, "init-k8s-master"), snapshot))
		})
	}
	assert.Empty(t, updated(t, "dev", nil, map[string]any{"kubernetes": "1.36.3"}).ofType(snapshotType))
}
