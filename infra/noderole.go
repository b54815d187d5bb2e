package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// ebsPolicy is AWS's own policy for the EBS CSI driver, restricted to one cluster: volumes and instances must carry
// volumeClusterTag with the value of the role's roleClusterTag. The policy of the same name without "EKSClusterScoped"
// lets a cluster's role delete the volumes of every other cluster in the account. It works without EKS.
const ebsPolicy = "arn:aws:iam::aws:policy/AmazonEBSCSIDriverEKSClusterScopedPolicy"

// The tags that ebsPolicy compares. The driver tags its volumes itself, by the chart's value k8sTagClusterId.
const (
	roleClusterTag   = "eks-cluster-name"
	volumeClusterTag = "ebs.csi.aws.com/cluster-name"
)

// NodeRole is what the machines, and the controllers that run on them, may do in AWS.
//
// There is one role because the machines share one profile. Any pod could take it through the metadata
// service, so a NetworkPolicy admits only the controllers that need it. AWS's managed policy for Session
// Manager is not used: it may read every SSM parameter of the account.
type NodeRole struct {
	pulumi.ResourceState

	// Outputs
	ProfileName pulumi.StringOutput
	// Granted is what a controller waits for that calls AWS.
	Granted []pulumi.Resource
}

// NodeRoleArgs are the role's inputs.
type NodeRoleArgs struct {
	ClusterName string
	Region      string
	// ParameterPrefix is the path of the SSM parameters that workloads may read.
	ParameterPrefix string
	// HostedZoneID is the zone that external-dns may write; empty where there is no domain.
	HostedZoneID string
}

// NewNodeRole declares the role, its policies and the instance profile.
func NewNodeRole(ctx *pulumi.Context, name string, args NodeRoleArgs, opts ...pulumi.ResourceOption) (*NodeRole, error) {
	r := &NodeRole{}
	if err := ctx.RegisterComponentResource("eco2:infra:NodeRole", name, r, opts...); err != nil {
		return nil, fmt.Errorf("registering node role %s: %w", name, err)
	}
	parent := pulumi.Parent(r)

	trust, err := policy(statement{
		Effect: "Allow", Action: []string{"sts:AssumeRole"}, Principal: map[string]string{"Service": "ec2.amazonaws.com"},
	})
	if err != nil {
		return nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		Name:             pulumi.String(args.ClusterName + "-node"),
		Description:      pulumi.String("The nodes of the cluster and the controllers on them"),
		AssumeRolePolicy: pulumi.String(trust),
		Tags:             pulumi.StringMap{roleClusterTag: pulumi.String(args.ClusterName)},
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("creating role %s: %w", name, err)
	}
	account := role.Arn.ApplyT(accountOf).(pulumi.StringOutput)

	grants := []struct {
		name       string
		statements func(account string) []statement
	}{
		{"session-manager", func(string) []statement { return sessionManager() }},
		{"parameters", func(account string) []statement {
			return parameters(args.Region, account, args.ParameterPrefix)
		}},
		{"load-balancers", func(account string) []statement {
			return loadBalancers(args.Region, account, args.ClusterName)
		}},
	}
	if args.HostedZoneID != "" {
		grants = append(grants, struct {
			name       string
			statements func(account string) []statement
		}{"dns", func(string) []statement { return dns(args.HostedZoneID) }})
	}
	for _, grant := range grants {
		document := account.ApplyT(func(account string) (string, error) {
			return policy(grant.statements(account)...)
		}).(pulumi.StringOutput)
		granted, err := iam.NewRolePolicy(ctx, name+"-"+grant.name, &iam.RolePolicyArgs{
			Name:   pulumi.String(grant.name),
			Role:   role.Name,
			Policy: document,
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("granting %s: %w", grant.name, err)
		}
		r.Granted = append(r.Granted, granted)
	}
	volumes, err := iam.NewRolePolicyAttachment(ctx, name+"-volumes", &iam.RolePolicyAttachmentArgs{
		Role:      role.Name,
		PolicyArn: pulumi.String(ebsPolicy),
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("granting volumes: %w", err)
	}
	r.Granted = append(r.Granted, volumes)

	profile, err := iam.NewInstanceProfile(ctx, name, &iam.InstanceProfileArgs{
		Name: pulumi.String(args.ClusterName + "-node"),
		Role: role.Name,
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("creating instance profile %s: %w", name, err)
	}
	r.ProfileName = profile.Name

	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"profileName": r.ProfileName})
}

// accountOf takes the account's number out of an ARN: arn:partition:service:region:account:resource.
func accountOf(arn string) (string, error) {
	fields := strings.SplitN(arn, ":", 6)
	if len(fields) < 6 || fields[4] == "" {
		return "", fmt.Errorf("reading the account of %q: it is no ARN with an account", arn)
	}
	return fields[4], nil
}

type statement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func policy(statements ...statement) (string, error) {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		return "", fmt.Errorf("writing a policy: %w", err)
	}
	return string(text), nil
}

func allow(resources []string, actions ...string) statement {
	return statement{Effect: "Allow", Action: actions, Resource: resources}
}

// when narrows a statement further: the key of the request's context must have this value.
func (s statement) when(key, value string) statement {
	const operator = "StringEquals"
	pairs := map[string]string{key: value}
	maps.Copy(pairs, s.Condition[operator])
	s.Condition = map[string]map[string]string{operator: pairs}
	return s
}

// all is for actions that AWS does not let a policy narrow.
var all = []string{"*"}

// sessionManager is a shell without an open port: the agent's channels, and nothing else.
func sessionManager() []statement {
	return []statement{allow(all,
		"ssm:UpdateInstanceInformation",
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
		"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel")}
}

// parameters is what External Secrets reads: this stack's parameters.
func parameters(region, account, prefix string) []statement {
	return []statement{allow([]string{fmt.Sprintf("arn:aws:ssm:%s:%s:parameter%s/*", region, account, prefix)},
		"ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath")}
}

// dns is what external-dns writes: the records of one zone.
func dns(zone string) []statement {
	return []statement{
		allow([]string{"arn:aws:route53:::hostedzone/" + zone},
			"route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResources"),
		allow(all, "route53:ListHostedZones"),
	}
}

// loadBalancers is what the load balancer controller does when it is told which security group to use:
// it has no right to make a group or a rule, so an Ingress without the annotation fails loudly. The load balancers
// and target groups that it changes must carry the cluster's tag.
func loadBalancers(region, account, cluster string) []statement {
	const tag = "elbv2.k8s.aws/cluster"
	arn := func(kind string) string {
		return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:%s", region, account, kind)
	}
	groups, balancers := arn("targetgroup/*/*"), arn("loadbalancer/app/*/*")
	listeners, rules := arn("listener/app/*/*/*"), arn("listener-rule/app/*/*/*/*")
	requested := func(s statement) statement { return s.when("aws:RequestTag/"+tag, cluster) }
	made := func(s statement, by string) statement {
		return s.when("elasticloadbalancing:CreateAction", by)
	}
	owned := func(s statement) statement { return s.when("aws:ResourceTag/"+tag, cluster) }
	return []statement{
		allow([]string{fmt.Sprintf("arn:aws:iam::%s:role/aws-service-role/elasticloadbalancing.amazonaws.com/*", account)},
			"iam:CreateServiceLinkedRole").when("iam:AWSServiceName", "elasticloadbalancing.amazonaws.com"),
		allow(all,
			"ec2:DescribeAccountAttributes", "ec2:DescribeAddresses", "ec2:DescribeAvailabilityZones",
			"ec2:DescribeInstances", "ec2:DescribeInternetGateways", "ec2:DescribeNetworkInterfaces",
			"ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeTags",
			"ec2:DescribeVpcs", "ec2:GetSecurityGroupsForVpc",
			"elasticloadbalancing:DescribeListenerAttributes", "elasticloadbalancing:DescribeListenerCertificates",
			"elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes",
			"elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeRules",
			"elasticloadbalancing:DescribeSSLPolicies", "elasticloadbalancing:DescribeTags",
			"elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetGroups",
			"elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeCapacityReservation",
			"acm:ListCertificates", "acm:DescribeCertificate"),
		requested(allow([]string{balancers, groups},
			"elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup")),
		// Tags are given while the thing is made, and afterwards only to what carries the cluster's tag: or the role could
		// give that tag to another cluster's, and own it.
		made(requested(allow([]string{balancers}, "elasticloadbalancing:AddTags")), "CreateLoadBalancer"),
		made(requested(allow([]string{groups}, "elasticloadbalancing:AddTags")), "CreateTargetGroup"),
		owned(allow([]string{balancers, groups},
			"elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags")),
		allow([]string{listeners, rules}, "elasticloadbalancing:AddTags", "elasticloadbalancing:RemoveTags"),
		owned(allow([]string{balancers, groups},
			"elasticloadbalancing:DeleteLoadBalancer", "elasticloadbalancing:DeleteTargetGroup",
			"elasticloadbalancing:ModifyLoadBalancerAttributes", "elasticloadbalancing:ModifyTargetGroup",
			"elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:SetIpAddressType",
			"elasticloadbalancing:SetSecurityGroups", "elasticloadbalancing:SetSubnets")),
		allow([]string{groups}, "elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"),
		allow([]string{balancers, listeners, rules},
			"elasticloadbalancing:AddListenerCertificates", "elasticloadbalancing:CreateListener",
			"elasticloadbalancing:CreateRule", "elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteRule",
			"elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyListenerAttributes",
			"elasticloadbalancing:ModifyRule", "elasticloadbalancing:RemoveListenerCertificates",
			"elasticloadbalancing:SetRulePriorities"),
	}
}
