package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/dlm"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ebs"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

// stateTag is the tag by which Amazon Data Lifecycle Manager finds the disk with a cluster's state, and people its
// snapshots. Its value is the cluster's name. Nothing else has it, and it is none of those that ebsPolicy compares.
const stateTag = "eco2.io/state"

// backup makes snapshots of the disk with the cluster's state, and deletes old ones. AWS does that, so backups do not
// depend on the cluster that they are of.
type backup struct {
	pulumi.ResourceState
	component.Children
}

// backupArgs holds the inputs of a backup.
type backupArgs struct {
	ClusterName string
	Region      string
	Backup      config.Backup
}

// newBackup declares the lifecycle policy, and the role with which AWS carries it out. The snapshots are in no state:
// they stay when the stack is destroyed.
func newBackup(ctx *pulumi.Context, name string, args *backupArgs, opts ...pulumi.ResourceOption) (*backup, error) {
	b := &backup{}
	if err := component.Register(ctx, "eco2:infra:Backup", name, b, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(b)
	role, granted, err := newBackupRole(ctx, name, args, parent)
	if err != nil {
		return nil, err
	}
	_, err = dlm.NewLifecyclePolicy(ctx, name, &dlm.LifecyclePolicyArgs{
		// AWS allows letters, digits, spaces, dashes and underscores only. A destroy's preview shows it.
		Description:      pulumi.String("Snapshots of the state of " + args.ClusterName + " which stay when this policy is deleted"),
		ExecutionRoleArn: role.Arn,
		PolicyDetails: &dlm.LifecyclePolicyPolicyDetailsArgs{
			ResourceTypes: pulumi.StringArray{pulumi.String("VOLUME")},
			TargetTags:    pulumi.StringMap{stateTag: pulumi.String(args.ClusterName)},
			Schedules: dlm.LifecyclePolicyPolicyDetailsScheduleArray{&dlm.LifecyclePolicyPolicyDetailsScheduleArgs{
				Name: pulumi.Sprintf("every %d hours", args.Backup.EveryHours),
				CreateRule: &dlm.LifecyclePolicyPolicyDetailsScheduleCreateRuleArgs{
					Interval:     pulumi.Int(args.Backup.EveryHours),
					IntervalUnit: pulumi.String("HOURS"),
					Times:        pulumi.String("00:00"), // the first of each day, UTC
				},
				RetainRule: &dlm.LifecyclePolicyPolicyDetailsScheduleRetainRuleArgs{Count: pulumi.Int(args.Backup.Keep)},
				// Those of the volume would say that Pulumi manages the snapshots.
				CopyTags:  pulumi.Bool(false),
				TagsToAdd: snapshotTags(args.ClusterName),
			}},
		},
	}, parent, component.DependsOn(granted))
	if err != nil {
		return nil, fmt.Errorf("creating the lifecycle policy %s: %w", name, err)
	}
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{})
}

// snapshotTags returns the tags of the snapshots of a cluster's state.
func snapshotTags(cluster string) pulumi.StringMap {
	return pulumi.StringMap{"Name": pulumi.String(cluster + "-state"), stateTag: pulumi.String(cluster)}
}

// newBackupRole declares the role of a backup and its policy. AWS's managed policy for this purpose is not used, because
// it permits deleting every snapshot of the account.
func newBackupRole(ctx *pulumi.Context, name string, args *backupArgs, opts ...pulumi.ResourceOption) (*iam.Role, *iam.RolePolicy, error) {
	roleName := args.ClusterName + "-" + name
	trust, err := policy(statement{
		Effect: "Allow", Action: []string{"sts:AssumeRole"}, Principal: map[string]string{"Service": "dlm.amazonaws.com"},
	})
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		Name:             pulumi.String(roleName),
		Description:      pulumi.String("Makes snapshots of the cluster's state, for Amazon Data Lifecycle Manager"),
		AssumeRolePolicy: pulumi.String(trust),
	}, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("creating role %s: %w", roleName, err)
	}
	document := role.Arn.ApplyT(func(arn string) (string, error) {
		account, err := accountOf(arn)
		if err != nil {
			return "", err
		}
		return policy(snapshots(args.Region, account, args.ClusterName)...)
	}).(pulumi.StringOutput)
	granted, err := iam.NewRolePolicy(ctx, name+"-snapshots", &iam.RolePolicyArgs{
		Name: pulumi.String("snapshots"), Role: role.Name, Policy: document,
	}, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("creating policy snapshots of role %s: %w", roleName, err)
	}
	return role, granted, nil
}

// snapshots returns the statements that permit making and deleting snapshots of a cluster's state. Only the service may
// assume the role, and it deletes no snapshots but its own.
func snapshots(region, account, cluster string) []statement {
	volumes := []string{fmt.Sprintf("arn:aws:ec2:%s:%s:volume/*", region, account)}
	made := []string{fmt.Sprintf("arn:aws:ec2:%s::snapshot/*", region)} // the ARNs of snapshots have no account
	owned := func(s statement) statement { return s.when("StringEquals", "aws:ResourceTag/"+stateTag, cluster) }
	return []statement{
		allow(all, "ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"),
		owned(allow(volumes, "ec2:CreateSnapshot")),
		// A snapshot that is being made has no tags yet.
		allow(made, "ec2:CreateSnapshot", "ec2:CreateTags"),
		owned(allow(made, "ec2:DeleteSnapshot")),
	}
}

// newUpgradeSnapshot declares the snapshot of the state from before an upgrade to a version of Kubernetes. It has the
// version in its name, so that the next upgrade creates another resource, and a restore, after which the volume is
// another one, leaves this one alone.
func newUpgradeSnapshot(ctx *pulumi.Context, clusterName, version string, volume *ebs.Volume, opts ...pulumi.ResourceOption) (*ebs.Snapshot, error) {
	name := "before-kubernetes-" + version
	snapshot, err := ebs.NewSnapshot(ctx, name, &ebs.SnapshotArgs{
		VolumeId:    volume.ID(),
		Description: pulumi.String("before Kubernetes " + version),
		Tags:        snapshotTags(clusterName),
	}, append(opts, pulumi.IgnoreChanges([]string{"volumeId"}))...)
	if err != nil {
		return nil, fmt.Errorf("creating snapshot %s: %w", name, err)
	}
	return snapshot, nil
}
