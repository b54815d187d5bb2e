package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

const everywhere = "0.0.0.0/0"

// SecurityGroup is the cluster's only security group. The nodes and the load balancer use it.
//
// Two groups that refer to each other block a destroy, because neither can be deleted before the other. Here there is
// one, and its rules are separate resources, including the rule that refers to the group itself. So there is no
// reference cycle, a changed rule is one change in a preview, and the load balancer controller, which is configured
// to use this group, neither creates groups nor adds rules. Network policies restrict traffic between pods.
//
// Whatever connects to a machine must depend on this component, and so on the rules.
type SecurityGroup struct {
	pulumi.ResourceState
	component.Children

	// Outputs
	Group *ec2.SecurityGroup
}

// securityGroupArgs holds the group's inputs.
type securityGroupArgs struct {
	ClusterName string
	VPC         *ec2.Vpc
	// Rules lists the inbound rules, except the one that allows all traffic from the group itself.
	Rules []config.InboundRule
}

// newSecurityGroup declares the group and its rules.
func newSecurityGroup(ctx *pulumi.Context, name string, args *securityGroupArgs, opts ...pulumi.ResourceOption) (*SecurityGroup, error) {
	s := &SecurityGroup{}
	if err := component.Register(ctx, "eco2:infra:SecurityGroup", name, s, opts...); err != nil {
		return nil, err
	}

	var err error
	s.Group, err = ec2.NewSecurityGroup(ctx, name, &ec2.SecurityGroupArgs{
		VpcId: args.VPC.ID(),
		Name:  pulumi.String(args.ClusterName),
		// AWS cannot change a description in place: another text would replace the group.
		Description: pulumi.String("The nodes of the cluster and its load balancer"),
		Tags: pulumi.StringMap{
			"Name":                       pulumi.String(args.ClusterName),
			clusterTag(args.ClusterName): pulumi.String("owned"),
		},
	}, pulumi.Parent(s),
		// If a forgotten network interface still uses the group, the destroy must fail soon: see deleteTimeout.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: deleteTimeout}))
	if err != nil {
		return nil, fmt.Errorf("creating security group %s: %w", name, err)
	}

	for _, rule := range args.Rules {
		if err := s.allow(ctx, rule); err != nil {
			return nil, err
		}
	}
	_, err = vpc.NewSecurityGroupIngressRule(ctx, "self", &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId:           s.Group.ID(),
		ReferencedSecurityGroupId: s.Group.ID(),
		IpProtocol:                pulumi.String("-1"),
		Description:               pulumi.String("Everything between the nodes, and from the load balancer to them"),
	}, s.ruleOptions()...)
	if err != nil {
		return nil, fmt.Errorf("creating rule self: %w", err)
	}
	// A group that is created without inline rules allows no outbound traffic.
	_, err = vpc.NewSecurityGroupEgressRule(ctx, "egress", &vpc.SecurityGroupEgressRuleArgs{
		SecurityGroupId: s.Group.ID(),
		CidrIpv4:        pulumi.String(everywhere),
		IpProtocol:      pulumi.String("-1"),
		Description:     pulumi.String("Everything outwards"),
	}, s.ruleOptions()...)
	if err != nil {
		return nil, fmt.Errorf("creating rule egress: %w", err)
	}

	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{"id": s.Group.ID()})
}

// allow declares the rule that permits a network to connect to a range of TCP ports. The resource is named after both,
// so that another network in the list adds a rule and changes no other.
func (s *SecurityGroup) allow(ctx *pulumi.Context, r config.InboundRule) error {
	_, err := vpc.NewSecurityGroupIngressRule(ctx, r.Name(), &vpc.SecurityGroupIngressRuleArgs{
		SecurityGroupId: s.Group.ID(),
		CidrIpv4:        pulumi.String(r.CIDR),
		IpProtocol:      pulumi.String("tcp"),
		FromPort:        pulumi.Int(r.From),
		ToPort:          pulumi.Int(r.To),
		Description:     pulumi.String(r.Description),
	}, s.ruleOptions()...)
	if err != nil {
		return fmt.Errorf("creating rule %s: %w", r.Name(), err)
	}
	return nil
}

// ruleOptions returns the options of every rule. AWS deletes a rule with its group, so a destroy needs no call for it.
func (s *SecurityGroup) ruleOptions() []pulumi.ResourceOption {
	return []pulumi.ResourceOption{pulumi.Parent(s), pulumi.DeletedWith(s.Group)}
}
