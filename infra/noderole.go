package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// ebsPolicy is the AWS managed policy for the EBS CSI driver that is restricted to one cluster: volumes and instances
// must have the tag volumeClusterTag with the same value as the role's tag roleClusterTag. The policy of the same name
// without "EKSClusterScoped" allows a cluster's role to delete the volumes of every other cluster in the account. It
// works without EKS.
const ebsPolicy = "arn:aws:iam::aws:policy/AmazonEBSCSIDriverEKSClusterScopedPolicy"

// These are the tags that ebsPolicy compares. The driver tags its volumes itself, with the value of the chart's
// k8sTagClusterId.
const (
	roleClusterTag   = "eks-cluster-name"
	volumeClusterTag = "ebs.csi.aws.com/cluster-name"
)

// nodeRole is the IAM role of the machines and of the controllers that run on them.
//
// There is one role because the machines share one instance profile. Any pod could assume it through the metadata
// service, so network policies allow only the controllers that need it to reach that service. AWS's managed policy for
// Session Manager is not used, because it permits reading every SSM parameter of the account.
type nodeRole struct {
	pulumi.ResourceState
	component.Children

	// Outputs
	ProfileName pulumi.StringOutput
}

// nodeRoleArgs holds the role's inputs.
type nodeRoleArgs struct {
	ClusterName string
	Region      string
	// ParameterPrefix is the path below which workloads may read SSM parameters.
	ParameterPrefix string
	// HostedZoneID is the Route 53 zone in which external-dns may change records. It is empty without a domain.
	HostedZoneID string
}

// newNodeRole declares the role, its policies and the instance profile.
func newNodeRole(ctx *pulumi.Context, name string, args *nodeRoleArgs, opts ...pulumi.ResourceOption) (*nodeRole, error) {
	r := &nodeRole{}
	if err := component.Register(ctx, "eco2:infra:NodeRole", name, r, opts...); err != nil {
		return nil, err
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
		_, err := iam.NewRolePolicy(ctx, name+"-"+grant.name, &iam.RolePolicyArgs{
			Name:   pulumi.String(grant.name),
			Role:   role.Name,
			Policy: document,
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("creating policy %s of the node role: %w", grant.name, err)
		}
	}
	_, err = iam.NewRolePolicyAttachment(ctx, name+"-volumes", &iam.RolePolicyAttachmentArgs{
		Role:      role.Name,
		PolicyArn: pulumi.String(ebsPolicy),
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("attaching policy %s to the node role: %w", ebsPolicy, err)
	}

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

// accountOf returns the account number in an ARN, arn:partition:service:region:account:resource. It fails if the ARN
// has none.
func accountOf(arn string) (string, error) {
	fields := strings.SplitN(arn, ":", 6)
	if len(fields) < 6 || fields[4] == "" {
		return "", fmt.Errorf("reading the account number of %q: it is not an ARN with an account", arn)
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

// when returns a copy of the statement that also requires the condition key to have this value.
func (s statement) when(key, value string) statement {
	const operator = "StringEquals"
	pairs := map[string]string{key: value}
	maps.Copy(pairs, s.Condition[operator])
	s.Condition = map[string]map[string]string{operator: pairs}
	return s
}

// all matches every resource, for actions that AWS does not support restricting to resources.
var all = []string{"*"}

// sessionManager permits the agent's channels of Session Manager, a shell that needs no open port, and nothing else.
func sessionManager() []statement {
	return []statement{allow(all,
		"ssm:UpdateInstanceInformation",
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
		"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel")}
}

// parameters permits External Secrets to read this stack's parameters.
func parameters(region, account, prefix string) []statement {
	return []statement{allow([]string{fmt.Sprintf("arn:aws:ssm:%s:%s:parameter%s/*", region, account, prefix)},
		"ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath")}
}

// dns permits external-dns to change the records of one zone.
func dns(zone string) []statement {
	return []statement{
		allow([]string{"arn:aws:route53:::hostedzone/" + zone},
			"route53:ChangeResourceRecordSets", "route53:ListResourceRecordSets", "route53:ListTagsForResources"),
		allow(all, "route53:ListHostedZones"),
	}
}

// loadBalancers permits what the load balancer controller does when every Ingress names the security group to use. It
// may not create a group or a rule, so an Ingress without that annotation fails visibly. It may change only load
// balancers and target groups that have the cluster's tag.
func loadBalancers(region, account, cluster string) []statement {
	const tag = "elbv2.k8s.aws/cluster"
	arn := func(kind string) string {
		return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:%s", region, account, kind)
	}
	groups, balancers := arn("targetgroup/*/*"), arn("loadbalancer/app/*/*")
	listeners, rules := arn("listener/app/*/*/*"), arn("listener-rule/app/*/*/*/*")
	requested := func(s statement) statement { return s.when("aws:RequestTag/"+tag, cluster) }
	during := func(s statement, action string) statement {
		return s.when("elasticloadbalancing:CreateAction", action)
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
		// Tags may be set on creation, and afterwards only on resources that already have the cluster's tag. Otherwise the
		// role could set that tag on another cluster's resources and then control them.
		during(requested(allow([]string{balancers}, "elasticloadbalancing:AddTags")), "CreateLoadBalancer"),
		during(requested(allow([]string{groups}, "elasticloadbalancing:AddTags")), "CreateTargetGroup"),
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
