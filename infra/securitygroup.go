package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

const everywhere = "0.0.0.0/0"

// SecurityGroup is the one group of the cluster: the nodes carry it, and so does the load balancer.
//
// Two groups that name each other are what no destroy gets past: each waits for the other. Here there is
// one, and its rules are resources of their own, also the rule that names the group itself. So nothing
// refers in a circle, a changed rule is one change in a preview, and the load balancer controller, which
// is told to use this group, neither makes groups nor adds rules. Which pod may talk to which is the
// business of NetworkPolicies.
type SecurityGroup struct {
	pulumi.ResourceState

	// Outputs
	Group *ec2.SecurityGroup
	// Rules are what traffic waits for.
	Rules []pulumi.Resource
}

// SecurityGroupArgs are the group's inputs.
type SecurityGroupArgs struct {
	ClusterName string
	VPC         *ec2.Vpc
	// Rules let networks in, beside the group itself.
	Rules []config.InboundRule
}

// NewSecurityGroup declares the group and its rules.
func NewSecurityGroup(ctx *pulumi.Context, name string, args SecurityGroupArgs, opts ...pulumi.ResourceOption) (*SecurityGroup, error) {
	s := &SecurityGroup{}
	if err := ctx.RegisterComponentResource("eco2:infra:SecurityGroup", name, s, opts...); err != nil {
		return nil, fmt.Errorf("registering security group %s: %w", name, err)
	}

	var err error
	s.Group, err = ec2.NewSecurityGroup(ctx, name, &ec2.SecurityGroupArgs{
		VpcId: args.VPC.ID(),
		Name:  pulumi.String(args.ClusterName),
		// AWS cannot change a description in place; this one has no reason to change.
		Description: pulumi.String("The nodes of the cluster and its load balancer"),
		Tags: pulumi.StringMap{
			"Name":                       pulumi.String(args.ClusterName),
			clusterTag(args.ClusterName): pulumi.String("owned"),
		},
	}, pulumi.Parent(s),
		// A group that a forgotten network interface still carries must say so soon: see deleteTimeout.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: deleteTimeout}))
	if err != nil {
		return nil, fmt.Errorf("creating security group %s: %w", name, err)
	}

	for _, rule := range args.Rules {
		if err := s.allow(ctx, rule); err != nil {
			return nil, err
		}
	}
	self, err := vpc.NewSecurityGroupIngressRule(ctx, "self", &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId:           s.Group.ID(),
		ReferencedSecurityGroupId: s.Group.ID(),
		IpProtocol:                pulumi.String("-1"),
		Description:               pulumi.String("Everything between the nodes, and from the load balancer to them"),
	}, s.rule()...)
	if err != nil {
		return nil, fmt.Errorf("creating rule self: %w", err)
	}
	// A group that is made without inline rules lets nothing out.
	out, err := vpc.NewSecurityGroupEgressRule(ctx, "egress", &vpc.SecurityGroupEgressRuleArgs{
		SecurityGroupId: s.Group.ID(),
		CidrIpv4:        pulumi.String(everywhere),
		IpProtocol:      pulumi.String("-1"),
		Description:     pulumi.String("Everything outwards"),
	}, s.rule()...)
	if err != nil {
		return nil, fmt.Errorf("creating rule egress: %w", err)
	}
	s.Rules = append(s.Rules, self, out)

	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"id": s.Group.ID()})
}

// allow lets one network in at a range of TCP ports. The rule is named after both, so that another
// network in the list is another rule and nothing else changes.
func (s *SecurityGroup) allow(ctx *pulumi.Context, r config.InboundRule) error {
	rule, err := vpc.NewSecurityGroupIngressRule(ctx, r.Name(), &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId: s.Group.ID(),
		CidrIpv4:        pulumi.String(r.CIDR),
		IpProtocol:      pulumi.String("tcp"),
		FromPort:        pulumi.Int(r.From),
		ToPort:          pulumi.Int(r.To),
		Description:     pulumi.String(r.Description),
	}, s.rule()...)
	if err != nil {
		return fmt.Errorf("creating rule %s: %w", r.Name(), err)
	}
	s.Rules = append(s.Rules, rule)
	return nil
}

// rule are the options of every rule: it goes with its group, so a destroy spends no call on it.
func (s *SecurityGroup) rule() []pulumi.ResourceOption {
	return []pulumi.ResourceOption{pulumi.Parent(s), pulumi.DeletedWith(s.Group)}
}
