package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"eco2/rehearsal/cloud/aws"
)

// RunLifecyclePolicy does at once what Amazon Data Lifecycle Manager does when a policy's time has come: it makes a
// snapshot of each volume with one of the policy's tags, and deletes the oldest that are more than the policy keeps. It
// may only do what the policies of its role allow. It returns the ids of the new snapshots.
func RunLifecyclePolicy(ctx context.Context, account *aws.Account, region, policy string, disks aws.Disks) (made []string, err error) {
	run := &lifecycleRun{account: account, region: region}
	err = account.View(region, func(tx aws.Tx) error {
		run.policy, err = tx.Require(aws.LifecyclePolicyKind, policy)
		return err
	})
	if err != nil {
		return nil, err
	}
	if run.policy.Text("state") != "ENABLED" {
		return nil, nil
	}
	role := run.policy.Text("executionRoleArn")
	role = role[strings.LastIndexByte(role, '/')+1:]
	if run.grants, err = (&API{account: account}).policiesOf(role); err != nil {
		return nil, err
	}
	if err := run.authorize("ec2:DescribeVolumes", "*", nil); err != nil {
		return nil, err
	}
	volumes, err := account.EveryVolume()
	if err != nil {
		return nil, err
	}
	details := run.policy.Object("policyDetails")
	for _, volume := range volumes {
		if !hasAnyTag(volume.Tags, textsOf(details.Object("targetTags"))) {
			continue
		}
		for _, schedule := range details.Objects("schedules") {
			id, err := run.snapshot(ctx, volume, schedule, disks)
			if err != nil {
				return made, err
			}
			made = append(made, id)
			if err := run.retain(volume, schedule); err != nil {
				return made, err
			}
		}
	}
	return made, nil
}

type lifecycleRun struct {
	account *aws.Account
	region  string
	policy  aws.Object
	grants  grants
}

func (r *lifecycleRun) authorize(action, resource string, context map[string][]string) error {
	reason, _ := r.grants.evaluate(request{action, resource, context})
	if reason == "" {
		return nil
	}
	return refuse("UnauthorizedOperation", "%s may not %s on resource: %s %s", r.policy.Text("executionRoleArn"), action, resource, reason)
}

func (r *lifecycleRun) snapshot(ctx context.Context, volume aws.Volume, schedule aws.Object, disks aws.Disks) (id string, err error) {
	every := fmt.Sprintf("arn:aws:ec2:%s::snapshot/*", r.region)
	added := textsOf(schedule.Object("tagsToAdd"))
	if schedule.Flag("copyTags") {
		maps.Copy(added, volume.Tags)
	}
	for _, try := range []struct {
		action, resource string
		context          map[string][]string
	}{
		{"ec2:CreateSnapshot", fmt.Sprintf("arn:aws:ec2:%s:%s:volume/%s", r.region, aws.AccountID, volume.ID), ec2Context(volume.Tags)},
		{"ec2:CreateSnapshot", every, tags("aws:RequestTag", added)},
		{"ec2:CreateTags", every, tags("aws:RequestTag", added)},
	} {
		if err := r.authorize(try.action, try.resource, try.context); err != nil {
			return "", err
		}
	}
	added["aws:dlm:lifecycle-policy-id"] = r.policy.ID()
	added["aws:dlm:lifecycle-schedule-name"] = schedule.Text("name")
	added["dlm:managed"] = "true"
	err = r.account.Update(r.region, func(tx aws.Tx) error {
		source, err := tx.Require(aws.VolumeKind, volume.ID)
		if err != nil {
			return err
		}
		made, err := tx.NewSnapshot(source)
		if err != nil {
			return err
		}
		made["description"] = "Created for policy: " + r.policy.ID() + " schedule: " + schedule.Text("name")
		made["tagsAll"] = added
		id = made.ID()
		return tx.Keep(aws.SnapshotKind, made)
	})
	if err == nil && disks != nil {
		err = disks.Snapshot(ctx, id, volume.ID)
	}
	return id, err
}

// retain deletes the oldest snapshots of a volume that a schedule has made, but for those that it keeps. Those of another
// volume stay: AWS keeps the snapshots of a volume that no longer exists.
func (r *lifecycleRun) retain(volume aws.Volume, schedule aws.Object) error {
	if err := r.authorize("ec2:DescribeSnapshots", "*", nil); err != nil {
		return err
	}
	all, err := r.account.Snapshots()
	if err != nil {
		return err
	}
	own := slices.DeleteFunc(all, func(s aws.Snapshot) bool {
		return s.VolumeID != volume.ID || s.Tags["aws:dlm:lifecycle-policy-id"] != r.policy.ID() ||
			s.Tags["aws:dlm:lifecycle-schedule-name"] != schedule.Text("name")
	})
	slices.SortFunc(own, func(a, b aws.Snapshot) int { return cmp.Compare(b.Sequence, a.Sequence) }) // the newest first
	keep := min(int(schedule.Object("retainRule").Number("count")), len(own))
	for _, old := range own[keep:] {
		if err := r.authorize("ec2:DeleteSnapshot", fmt.Sprintf("arn:aws:ec2:%s::snapshot/%s", r.region, old.ID), ec2Context(old.Tags)); err != nil {
			return err
		}
		err := r.account.Update(r.region, func(tx aws.Tx) error { return tx.Drop(aws.SnapshotKind, old.ID) })
		if err != nil {
			return err
		}
	}
	return nil
}

func textsOf(o aws.Object) map[string]string {
	texts := map[string]string{}
	for key := range o {
		texts[key] = o.Text(key)
	}
	return texts
}

func hasAnyTag(tags, wanted map[string]string) bool {
	for key, value := range wanted {
		if has, ok := tags[key]; ok && has == value {
			return true
		}
	}
	return false
}
