// Package provider is the Pulumi provider for the rehearsal's model of AWS.
//
// It stands in for the provider pulumi-aws v6.83.2 (Terraform's provider v5): the same inputs, defaults, replacements,
// waits and errors, AWS's refusals included, for the resource types that the program uses and no others. It rejects
// types and properties that it does not know, so that nothing passes the rehearsal without having been checked.
//
// Each resource type is an entry of a table (table.go defines what an entry consists of): network.go, securitygroup.go,
// instance.go, address.go, iam.go, ssm.go and dns.go hold the entries, latency.go the durations. One implementation of
// plugin.Kind serves all of them.
package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/setup"
)

const (
	// Name is the provider name that the SDK asks for.
	Name = "aws"
	// Version is the version of the SDK.
	Version = "6.83.2"
)

// New returns the provider for the account in a state directory. If machines is nil, instances exist in the model only.
func New(stateDir string, machines Machines) (plugin.Provider, error) {
	return NewWithDisks(stateDir, machines, nil)
}

// NewWithDisks is New with what is on the volumes. If disks is nil, volumes and snapshots exist in the model only.
func NewWithDisks(stateDir string, machines Machines, disks aws.Disks) (plugin.Provider, error) {
	c, err := newCloud(stateDir)
	if err != nil {
		return plugin.Provider{}, err
	}
	c.machines, c.disks = machines, disks
	return plugin.Provider{
		Name: Name, Version: Version,
		Kinds:      c.kind,
		Functions:  map[string]plugin.Function{"aws:ec2/getAmi:getAmi": c.getAmi},
		Configure:  c.configure,
		DiffConfig: diffConfig,
	}, nil
}

// cloud is the provider with its configuration and the account that it works on.
type cloud struct {
	stateDir string
	account  *aws.Account
	machines Machines
	disks    aws.Disks
	// latency scales every modelled wait: 0 means no wait, 1 as long as AWS takes.
	latency  setup.Latency
	settings atomic.Pointer[settings]
	// status reports an operation's progress to the engine; tests replace it.
	status func(ctx context.Context, r *plugin.Request, line string)
}

// settings holds the provider configuration that the model uses.
type settings struct {
	region      string
	defaultTags map[string]string
}

func newCloud(stateDir string) (*cloud, error) {
	factor, err := setup.LatencyFromEnv()
	if err != nil {
		return nil, err
	}
	c := &cloud{
		stateDir: stateDir, account: aws.Open(stateDir), latency: factor,
		status: func(ctx context.Context, r *plugin.Request, line string) { r.Status(ctx, line) },
	}
	c.settings.Store(&settings{})
	return c, nil
}

// kind returns the implementation of a type token, or nil for a type that the model does not know.
func (c *cloud) kind(typ string) plugin.Kind {
	if spec, ok := specs[typ]; ok {
		return &kind{spec: spec, typ: typ, name: kindName(typ), cloud: c}
	}
	return nil
}

// specs maps each supported type token to its entry.
var specs = map[string]*spec{
	"aws:acm/certificate:Certificate":                           &certificate,
	"aws:acm/certificateValidation:CertificateValidation":       &certificateValidation,
	"aws:ec2/eip:Eip":                                           &eip,
	"aws:ec2/eipAssociation:EipAssociation":                     &eipAssociation,
	"aws:ec2/instance:Instance":                                 &instance,
	"aws:ec2/internetGateway:InternetGateway":                   &internetGateway,
	"aws:ec2/keyPair:KeyPair":                                   &keyPair,
	"aws:ec2/route:Route":                                       &route,
	"aws:ec2/routeTable:RouteTable":                             &routeTable,
	"aws:ec2/routeTableAssociation:RouteTableAssociation":       &routeTableAssociation,
	"aws:ec2/securityGroup:SecurityGroup":                       &securityGroup,
	"aws:ec2/subnet:Subnet":                                     &subnet,
	"aws:ec2/subnetCidrReservation:SubnetCidrReservation":       &subnetCIDRReservation,
	"aws:ec2/volumeAttachment:VolumeAttachment":                 &volumeAttachment,
	"aws:ec2/vpc:Vpc":                                           &vpc,
	"aws:dlm/lifecyclePolicy:LifecyclePolicy":                   &lifecyclePolicy,
	"aws:ebs/snapshot:Snapshot":                                 &snapshot,
	"aws:ebs/volume:Volume":                                     &volume,
	"aws:iam/instanceProfile:InstanceProfile":                   &instanceProfile,
	"aws:iam/role:Role":                                         &role,
	"aws:iam/rolePolicy:RolePolicy":                             &rolePolicy,
	"aws:iam/rolePolicyAttachment:RolePolicyAttachment":         &rolePolicyAttachment,
	"aws:route53/record:Record":                                 &record,
	"aws:ssm/parameter:Parameter":                               &parameter,
	"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":   &egressRule,
	"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": &ingressRule,
}

// configure validates and stores the provider's inputs. A region that is not known yet, as in the preview of a program
// that computes it, is left empty.
func (c *cloud) configure(_ context.Context, in resource.PropertyMap) error {
	set := &settings{}
	region := setting(in["region"])
	switch {
	case region.IsComputed() || region.IsOutput():
	case !region.IsString() || region.StringValue() == "":
		return fmt.Errorf("configuring the AWS provider: missing required configuration aws:region")
	case aws.ZoneLetters[region.StringValue()] == "":
		return fmt.Errorf("configuring the AWS provider: invalid AWS Region: %s", region.StringValue())
	default:
		set.region = region.StringValue()
	}
	if tags := setting(in["defaultTags"]); tags.IsObject() {
		if tags := setting(tags.ObjectValue()["tags"]); tags.IsObject() {
			set.defaultTags = map[string]string{}
			for key, v := range tags.ObjectValue() {
				if v.IsString() {
					set.defaultTags[string(key)] = v.StringValue()
				}
			}
		}
	}
	if allowed := accounts(in["allowedAccountIds"]); len(allowed) > 0 && !slices.Contains(allowed, aws.AccountID) {
		return fmt.Errorf("configuring the AWS provider: AWS account ID not allowed: %s", aws.AccountID)
	}
	if slices.Contains(accounts(in["forbiddenAccountIds"]), aws.AccountID) {
		return fmt.Errorf("configuring the AWS provider: AWS account ID not allowed: %s", aws.AccountID)
	}
	c.settings.Store(set)
	return nil
}

// setting decodes a provider input: SDKs send values that are not strings as JSON in a string.
func setting(v resource.PropertyValue) resource.PropertyValue {
	if v.IsSecret() {
		return setting(v.SecretValue().Element)
	}
	if !v.IsString() {
		return v
	}
	var decoded any
	if err := json.Unmarshal([]byte(v.StringValue()), &decoded); err != nil {
		return v
	}
	switch decoded.(type) {
	case map[string]any, []any:
		return resource.NewPropertyValue(decoded)
	}
	return v
}

func accounts(v resource.PropertyValue) (ids []string) {
	if v = setting(v); v.IsArray() {
		for _, id := range v.ArrayValue() {
			if id.IsString() {
				ids = append(ids, id.StringValue())
			}
		}
	}
	return ids
}

// diffConfig compares provider configurations. Only a change of region replaces the provider, as resources cannot move
// between regions.
func diffConfig(r *plugin.Request) (plugin.Diff, error) {
	return plugin.Compare(r.OldInputs, r.Inputs, func(property string) bool { return property == "region" }), nil
}
