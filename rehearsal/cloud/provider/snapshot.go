package provider

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

var snapshot = spec{
	title: "EBS Snapshot", service: "EC2", calls: calls{"CreateSnapshot", "CreateTags", "DeleteSnapshot"},
	inputs: inputs{
		"description": text(replaces),
		"volumeId":    text(required, replaces),
		"storageTier": text(computed, oneOf("archive", "standard")),
		"tags":        ownTags,
	},
	outputs: []string{"arn", "dataEncryptionKeyId", "encrypted", "kmsKeyId", "ownerAlias", "ownerId", "volumeSize"},
	timeout: 10 * time.Minute,
	create: func(c *call) error {
		volume, err := c.Require(aws.VolumeKind, c.obj.Text("volumeId"))
		if err != nil {
			return err
		}
		made, err := c.NewSnapshot(volume)
		if err != nil {
			return err
		}
		c.fill(made)
		c.fill(aws.Object{"dataEncryptionKeyId": "", "ownerAlias": ""})
		c.obj.SetDefault("description", "")
		c.obj.SetDefault("storageTier", "standard")
		return nil
	},
	disks: func(ctx context.Context, d aws.Disks, o aws.Object) error {
		return d.Snapshot(ctx, o.ID(), o.Text("volumeId"))
	},
}

// policyDescription has the characters that Amazon Data Lifecycle Manager accepts in a description.
var policyDescription = regexp.MustCompile(`^[0-9A-Za-z _-]{1,500}$`)

// lifecyclePolicy models policies that make snapshots of volumes at an interval and keep a number of them.
var lifecyclePolicy = spec{
	title: "DLM Lifecycle Policy", service: "DLM",
	calls: calls{"CreateLifecyclePolicy", "UpdateLifecyclePolicy", "DeleteLifecyclePolicy"},
	inputs: inputs{
		"description": text(required, valid(func(s string) string {
			if policyDescription.MatchString(s) {
				return ""
			}
			return "invalid value for description (see https://docs.aws.amazon.com/cli/latest/reference/dlm/create-lifecycle-policy.html)"
		})),
		"executionRoleArn": text(required),
		"state":            text(fallback("ENABLED"), oneOf("ENABLED", "DISABLED")),
		"policyDetails": nested(inputs{
			"policyType":    text(fallback("EBS_SNAPSHOT_MANAGEMENT"), oneOf("EBS_SNAPSHOT_MANAGEMENT")),
			"resourceTypes": texts(required, oneOf("VOLUME")),
			"targetTags":    textMap(required),
			"schedules": list(inputs{
				"name":      text(required, lengthBetween(1, 120)),
				"copyTags":  flag(computed),
				"tagsToAdd": textMap(),
				"createRule": nested(inputs{
					"interval": number(required, valid(func(hours float64) string {
						if slices.Contains([]float64{1, 2, 3, 4, 6, 8, 12, 24}, hours) {
							return ""
						}
						return "expected interval to be one of [1 2 3 4 6 8 12 24]"
					})),
					"intervalUnit": text(computed, oneOf("HOURS")),
					"times":        text(computed, matching(`^(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]$`, "a time such as 23:45")),
				}, required),
				"retainRule": nested(inputs{"count": number(required, between(1, 1000))}, required),
			}, required),
		}, required),
		"tags": ownTags,
	},
	outputs: []string{"arn"},
	check: func(in resource.PropertyMap) []plugin.Failure {
		if details := in["policyDetails"]; details.IsObject() {
			if schedules := details.ObjectValue()["schedules"]; schedules.IsArray() && (len(schedules.ArrayValue()) < 1 || len(schedules.ArrayValue()) > 4) {
				return []plugin.Failure{{Property: "policyDetails.schedules", Reason: "a policy has 1 to 4 schedules"}}
			}
		}
		return nil
	},
	create: func(c *call) error {
		if err := checkLifecyclePolicy(c); err != nil {
			return err
		}
		id := "policy-0" + aws.RandomHex(16)
		c.fill(aws.Object{"id": id, "arn": c.ARN("dlm", "policy/"+id)})
		return nil
	},
	update: checkLifecyclePolicy,
}

// checkLifecyclePolicy refuses a role that does not exist or that the service may not assume.
func checkLifecyclePolicy(c *call) error {
	arn := c.obj.Text("executionRoleArn")
	role, err := c.Find("role", arn[strings.LastIndexByte(arn, '/')+1:])
	if err != nil {
		return err
	}
	if role == nil || role.Text("arn") != arn || !strings.Contains(role.Text("assumeRolePolicy"), `"dlm.amazonaws.com"`) {
		return aws.Refuse("InvalidRequestException", "The role %s cannot be assumed by Data Lifecycle Manager.", arn)
	}
	return nil
}
