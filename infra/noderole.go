package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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

// nodeRole is an IAM role of machines, with its instance profile.
//
// Whoever can reach a machine's metadata service has the machine's role. So the control plane, where the controllers
// run that call AWS, has a role of its own, and the workers have one that permits Session Manager only. AWS's managed
// policy for Session Manager is not used, because it permits reading every SSM parameter of the account.
type nodeRole struct {
	pulumi.ResourceState
	component.Children

	// Outputs
	ProfileName pulumi.StringOutput
}

// nodeRoleArgs holds a role's inputs.
type nodeRoleArgs struct {
	// RoleName is the name of the role and of its instance profile in AWS.
	RoleName    string
	Description string
	Tags        pulumi.StringMap
	// Grants are the inline policies.
	Grants []grant
	// ManagedPolicies maps names of attachments to the ARNs of AWS managed policies.
	ManagedPolicies map[string]string
}

// grant is an inline policy of a role, whose statements may contain the number of the AWS account.
type grant struct {
	name       string
	statements func(account string) []statement
}

// controlPlaneRoleArgs holds the inputs of the control plane's role.
type controlPlaneRoleArgs struct {
	ClusterName string
	Region      string
	// ParameterPrefix is the path below which workloads may read SSM parameters.
	ParameterPrefix string
	// Domain and HostedZoneID are the domain whose records external-dns may change, and its Route 53 zone. They are empty
	// without a domain.
	Domain       string
	HostedZoneID string
}

// newControlPlaneRole declares the role of the control plane's machine and of the controllers on it.
func newControlPlaneRole(ctx *pulumi.Context, name string, args *controlPlaneRoleArgs, opts ...pulumi.ResourceOption) (*nodeRole, error) {
	grants := []grant{
		sessionManager,
		{"parameters", func(account string) []statement {
			return parameters(args.Region, account, args.ParameterPrefix)
		}},
		{"load-balancers", func(account string) []statement {
			return loadBalancers(args.Region, account, args.ClusterName)
		}},
	}
	if args.HostedZoneID != "" {
		grants = append(grants, grant{"dns", func(string) []statement { return dns(args.HostedZoneID, args.Domain) }})
	}
	return newNodeRole(ctx, name, &nodeRoleArgs{
		// Earlier versions of the program gave this role to all machines, hence its name. Another name would be another
		// role. In an update the controllers would lose their permissions with it, because AWS's SDKs keep a role's
		// credentials until they expire, which is up to six hours later.
		RoleName:        args.ClusterName + "-node",
		Description:     "The control plane of the cluster and the controllers on it",
		Tags:            pulumi.StringMap{roleClusterTag: pulumi.String(args.ClusterName)},
		Grants:          grants,
		ManagedPolicies: map[string]string{"volumes": ebsPolicy},
	}, append(opts, pulumi.Aliases([]pulumi.Alias{
		// Its component was called "node" when there was one role for all machines. In even older programs it had no
		// parent either.
		{Name: pulumi.String("node")},
		{Name: pulumi.String("node"), NoParent: pulumi.Bool(true)},
	}))...)
}

// workerRoleArgs holds the inputs of the workers' role.
type workerRoleArgs struct {
	ClusterName string
}

// newWorkerRole declares the role of all machines but the control plane's.
func newWorkerRole(ctx *pulumi.Context, name string, args *workerRoleArgs, opts ...pulumi.ResourceOption) (*nodeRole, error) {
	return newNodeRole(ctx, name, &nodeRoleArgs{
		RoleName:    args.ClusterName + "-worker",
		Description: "The workers of the cluster",
		Grants:      []grant{sessionManager},
	}, opts...)
}

// newNodeRole declares a role, its policies and the instance profile.
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
		Name:             pulumi.String(args.RoleName),
		Description:      pulumi.String(args.Description),
		AssumeRolePolicy: pulumi.String(trust),
		Tags:             args.Tags,
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("creating role %s: %w", args.RoleName, err)
	}
	account := role.Arn.ApplyT(accountOf).(pulumi.StringOutput)
	for _, grant := range args.Grants {
		document := account.ApplyT(func(account string) (string, error) {
			return policy(grant.statements(account)...)
		}).(pulumi.StringOutput)
		_, err := iam.NewRolePolicy(ctx, name+"-"+grant.name, &iam.RolePolicyArgs{
			Name:   pulumi.String(grant.name),
			Role:   role.Name,
			Policy: document,
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("creating policy %s of role %s: %w", grant.name, args.RoleName, err)
		}
	}
	for _, attachment := range slices.Sorted(maps.Keys(args.ManagedPolicies)) {
		arn := args.ManagedPolicies[attachment]
		_, err := iam.NewRolePolicyAttachment(ctx, name+"-"+attachment, &iam.RolePolicyAttachmentArgs{
			Role:      role.Name,
			PolicyArn: pulumi.String(arn),
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("attaching policy %s to role %s: %w", arn, args.RoleName, err)
		}
	}

	profile, err := iam.NewInstanceProfile(ctx, name, &iam.InstanceProfileArgs{
		Name: pulumi.String(args.RoleName),
		Role: role.Name,
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("creating instance profile %s: %w", args.RoleName, err)
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
	Resource  []string `json:",omitempty"`
	// Condition maps operators to condition keys to the values that a key may have.
	Condition map[string]map[string][]string `json:",omitempty"`
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

// when returns a copy of the statement that also requires a condition key to match one of these values.
func (s statement) when(operator, key string, values ...string) statement {
	keys := map[string][]string{key: values}
	maps.Copy(keys, s.Condition[operator])
	conditions := map[string]map[string][]string{}
	maps.Copy(conditions, s.Condition)
	conditions[operator] = keys
	s.Condition = conditions
	return s
}

// all matches every resource, for actions that AWS does not support restricting to resources.
var all = []string{"*"}

// sessionManager permits the agent's channels of Session Manager, a shell that needs no open port, and nothing else.
var sessionManager = grant{"session-manager", func(string) []statement {
	return []statement{allow(all,
		"ssm:UpdateInstanceInformation",
		"ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
		"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel")}
}}

// parameters permits External Secrets to read this stack's parameters by name. Searches need more; the platform refuses
// them.
func parameters(region, account, prefix string) []statement {
	return []statement{allow([]string{fmt.Sprintf("arn:aws:ssm:%s:%s:parameter%s/*", region, account, prefix)},
		"ssm:GetParameter")}
}

// dns permits external-dns to change the records of the domain, its subdomains and their ownership records, which
// begin with a label of external-dns. The rest of the zone may belong to other stacks.
func dns(zone, domain string) []statement {
	const change = "route53:ChangeResourceRecordSets"
	zones := []string{"arn:aws:route53:::hostedzone/" + zone}
	return []statement{
		allow(zones, change).
			when("ForAllValues:StringLike", change+"NormalizedRecordNames", domain, "*."+domain).
			when("ForAllValues:StringEquals", change+"RecordTypes", "A", "AAAA", "CNAME", "TXT"),
		allow(zones, "route53:ListResourceRecordSets", "route53:ListTagsForResources"),
		allow(all, "route53:ListHostedZones"),
	}
}

// loadBalancers permits what the load balancer controller does when every Ingress names the security group to use. It
// may not create a group or a rule of one, so an Ingress without that annotation fails visibly. The controller tags all
// that it creates with the cluster's name, and may change only what has that tag.
func loadBalancers(region, account, cluster string) []statement {
	const tag = "elbv2.k8s.aws/cluster"
	arn := func(kind string) string {
		return fmt.Sprintf("arn:aws:elasticloadbalancing:%s:%s:%s", region, account, kind)
	}
	groups, balancers := arn("targetgroup/*/*"), arn("loadbalancer/app/*/*")
	listeners, rules := arn("listener/app/*/*/*"), arn("listener-rule/app/*/*/*/*")
	requested := func(s statement) statement { return s.when("StringEquals", "aws:RequestTag/"+tag, cluster) }
	owned := func(s statement) statement { return s.when("StringEquals", "aws:ResourceTag/"+tag, cluster) }
	// Tags may be set on creation, and afterwards only on resources that already have the cluster's tag. Otherwise the
	// role could set that tag on another cluster's resources and then control them.
	tagged := func(resource, action string) statement {
		return requested(allow([]string{resource}, "elasticloadbalancing:AddTags")).
			when("StringEquals", "elasticloadbalancing:CreateAction", action)
	}
	return []statement{
		allow([]string{fmt.Sprintf("arn:aws:iam::%s:role/aws-service-role/elasticloadbalancing.amazonaws.com/*", account)},
			"iam:CreateServiceLinkedRole").when("StringEquals", "iam:AWSServiceName", "elasticloadbalancing.amazonaws.com"),
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
		// A listener is created in a load balancer and a rule in a listener, which must be the cluster's too.
		requested(owned(allow([]string{balancers, listeners},
			"elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateRule"))),
		tagged(balancers, "CreateLoadBalancer"),
		tagged(groups, "CreateTargetGroup"),
		tagged(listeners, "CreateListener"),
		tagged(rules, "CreateRule"),
		owned(allow([]string{balancers, groups, listeners, rules},
			"elasticloadbalancing:AddListenerCertificates", "elasticloadbalancing:AddTags",
			"elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteLoadBalancer",
			"elasticloadbalancing:DeleteRule", "elasticloadbalancing:DeleteTargetGroup",
			"elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:ModifyListener",
			"elasticloadbalancing:ModifyListenerAttributes", "elasticloadbalancing:ModifyLoadBalancerAttributes",
			"elasticloadbalancing:ModifyRule", "elasticloadbalancing:ModifyTargetGroup",
			"elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:RegisterTargets",
			"elasticloadbalancing:RemoveListenerCertificates", "elasticloadbalancing:RemoveTags",
			"elasticloadbalancing:SetIpAddressType", "elasticloadbalancing:SetSecurityGroups",
			"elasticloadbalancing:SetSubnets")),
		// AWS has no condition key for this action, so it cannot be restricted to the cluster's rules.
		allow([]string{rules}, "elasticloadbalancing:SetRulePriorities"),
	}
}
