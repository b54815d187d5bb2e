package api

import (
	"crypto/rand"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/aws"
)

const (
	requestTag  = "aws:RequestTag"
	resourceTag = "aws:ResourceTag"
)

// balancerName matches valid names of load balancers and target groups.
var balancerName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?$`)

// balancerAttributes are AWS's default attributes of a load balancer. In the rehearsal only the deletion protection can
// be changed.
var balancerAttributes = map[string]string{
	deletionProtection:                                         "false",
	"access_logs.s3.enabled":                                   "false",
	"access_logs.s3.bucket":                                    "",
	"access_logs.s3.prefix":                                    "",
	"client_keep_alive.seconds":                                "3600",
	"connection_logs.s3.enabled":                               "false",
	"connection_logs.s3.bucket":                                "",
	"connection_logs.s3.prefix":                                "",
	"idle_timeout.timeout_seconds":                             "60",
	"load_balancing.cross_zone.enabled":                        "true",
	"routing.http.desync_mitigation_mode":                      "defensive",
	"routing.http.drop_invalid_header_fields.enabled":          "false",
	"routing.http.preserve_host_header.enabled":                "false",
	"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
	"routing.http.xff_client_port.enabled":                     "false",
	"routing.http.xff_header_processing.mode":                  "append",
	"routing.http2.enabled":                                    "true",
	"waf.fail_open.enabled":                                    "false",
	"zonal_shift.config.enabled":                               "false",
}

const deletionProtection = "deletion_protection.enabled"

// createContext returns the condition keys for adding tags as part of a create.
func createContext(action string, requested map[string][]string) map[string][]string {
	context := maps.Clone(requested)
	context["elasticloadbalancing:CreateAction"] = []string{action}
	return context
}

// authorizeCreate is authorize for an action that creates a resource. It checks the action on the resource on, and if
// there are tags, AddTags on the resource made, which does not exist yet.
func (c *call) authorizeCreate(action, on string, owned map[string]string, made string, given map[string]string) error {
	context := tags(requestTag, given)
	maps.Copy(context, tags(resourceTag, owned))
	if err := c.authorize(elbService+":"+action, on, context); err != nil || len(given) == 0 {
		return err
	}
	return c.authorize(elbService+":AddTags", made, createContext(action, tags(requestTag, given)))
}

// randomARN returns the ARN of a new resource; AWS ends each with random digits.
func (c *call) randomARN(resource string) string {
	return c.arn(elbService, resource+"/"+aws.RandomHex(16))
}

func (c *call) createLoadBalancer(in *elasticloadbalancingv2.CreateLoadBalancerInput) (*elasticloadbalancingv2.CreateLoadBalancerOutput, error) {
	given, resource := elbTagMap(in.Tags), "loadbalancer/app/"+value(in.Name)
	if err := c.authorizeCreate("CreateLoadBalancer", c.arn(elbService, resource+"/*"), nil, c.arn(elbService, resource+"/*"), given); err != nil {
		return nil, err
	}
	existing, err := c.account.LoadBalancers()
	if err != nil {
		return nil, err
	}
	if len(existing) == 0 {
		if err := c.authorizeServiceLinkedRole(); err != nil {
			return nil, err
		}
	}
	b := aws.LoadBalancer{
		ARN: c.randomARN(resource), Name: value(in.Name), Scheme: string(in.Scheme), SubnetIDs: subnetsOf(in.Subnets, in.SubnetMappings),
		SecurityGroupIDs: in.SecurityGroups, Tags: given, CreatedAt: time.Now().UTC(), ActiveAt: time.Now().Add(c.provision),
	}
	if b.Scheme == "" {
		b.Scheme = string(types.LoadBalancerSchemeEnumInternetFacing)
	}
	switch {
	case in.Type != "" && in.Type != types.LoadBalancerTypeEnumApplication:
		return nil, refuse("ValidationError", "The rehearsal does not support load balancers of type '%s'", in.Type)
	case in.IpAddressType != "" && in.IpAddressType != types.IpAddressTypeIpv4:
		return nil, refuse("ValidationError", "The rehearsal does not support load balancers with addresses of type '%s'", in.IpAddressType)
	case !balancerName.MatchString(b.Name) || strings.HasPrefix(b.Name, "internal-"):
		return nil, refuse("ValidationError", "The load balancer name '%s' must have 1 to 32 letters, digits and hyphens, and not begin with 'internal-'", b.Name)
	}
	for _, is := range existing {
		if is.Name == b.Name {
			return nil, refuse("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", b.Name)
		}
	}
	number, _ := rand.Int(rand.Reader, big.NewInt(1e9)) // never fails
	b.DNSName = fmt.Sprintf("%s-%d.%s.elb.amazonaws.com", b.Name, number, c.region)
	if b.Scheme == string(types.LoadBalancerSchemeEnumInternal) {
		b.DNSName = "internal-" + b.DNSName
	}
	if err := c.checkPlacement(&b); err != nil {
		return nil, err
	}
	if err := c.account.PutLoadBalancer(b); err != nil {
		return nil, err
	}
	described, err := c.describedBalancer(b)
	return &elasticloadbalancingv2.CreateLoadBalancerOutput{LoadBalancers: []types.LoadBalancer{described}}, err
}

// authorizeServiceLinkedRole checks the permission that the account's first load balancer needs: AWS creates a
// service-linked role for it in the caller's name.
func (c *call) authorizeServiceLinkedRole() error {
	const principal = "elasticloadbalancing.amazonaws.com"
	role := fmt.Sprintf("arn:aws:iam::%s:role/aws-service-role/%s/AWSServiceRoleForElasticLoadBalancing", aws.AccountID, principal)
	return c.authorize("iam:CreateServiceLinkedRole", role, map[string][]string{"iam:AWSServiceName": {principal}})
}

func subnetsOf(ids []string, mappings []types.SubnetMapping) []string {
	for _, m := range mappings {
		ids = append(ids, value(m.SubnetId))
	}
	return ids
}

// checkPlacement rejects subnets and security groups that AWS would reject, and sets the VPC.
func (c *call) checkPlacement(b *aws.LoadBalancer) error {
	subnets, err := c.account.Subnets()
	if err != nil {
		return err
	}
	zones := map[string]bool{}
	for _, id := range b.SubnetIDs {
		at := slices.IndexFunc(subnets, func(s aws.Subnet) bool { return s.ID == id })
		switch {
		case at < 0:
			return refuse("SubnetNotFound", "The subnet ID '%s' does not exist", id)
		case zones[subnets[at].AvailabilityZone]:
			return refuse("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		case b.VPCID != "" && b.VPCID != subnets[at].VPCID:
			return refuse("InvalidConfigurationRequest", "The subnets of a load balancer must be in one VPC")
		}
		zones[subnets[at].AvailabilityZone], b.VPCID = true, subnets[at].VPCID
	}
	if len(zones) < 2 {
		return refuse("ValidationError", "At least two subnets in two different Availability Zones must be specified")
	}
	groups, err := c.account.Groups()
	if err != nil {
		return err
	}
	for _, id := range b.SecurityGroupIDs {
		if !slices.ContainsFunc(groups, func(g aws.Group) bool { return g.ID == id && g.VPCID == b.VPCID }) {
			return refuse("InvalidSecurityGroup", "The security group '%s' does not exist in VPC '%s'", id, b.VPCID)
		}
	}
	if len(b.SecurityGroupIDs) == 0 {
		return refuse("InvalidSecurityGroup", "A load balancer without a security group would get the VPC's default group, which the rehearsal does not support")
	}
	return nil
}

func (c *call) describedBalancer(b aws.LoadBalancer) (types.LoadBalancer, error) {
	state := types.LoadBalancerStateEnumActive
	if time.Now().Before(b.ActiveAt) {
		state = types.LoadBalancerStateEnumProvisioning
	}
	subnets, err := c.account.Subnets()
	var zones []types.AvailabilityZone
	for _, s := range subnets {
		if slices.Contains(b.SubnetIDs, s.ID) {
			zones = append(zones, types.AvailabilityZone{SubnetId: &s.ID, ZoneName: &s.AvailabilityZone})
		}
	}
	return types.LoadBalancer{
		LoadBalancerArn: &b.ARN, LoadBalancerName: &b.Name, DNSName: &b.DNSName, VpcId: &b.VPCID, CreatedTime: &b.CreatedAt,
		Type: types.LoadBalancerTypeEnumApplication, Scheme: types.LoadBalancerSchemeEnum(b.Scheme), IpAddressType: types.IpAddressTypeIpv4,
		AvailabilityZones: zones, SecurityGroups: b.SecurityGroupIDs, State: &types.LoadBalancerState{Code: state},
	}, err
}

func (c *call) describeLoadBalancers(in *elasticloadbalancingv2.DescribeLoadBalancersInput) (*elasticloadbalancingv2.DescribeLoadBalancersOutput, error) {
	if err := c.authorize(elbService+":DescribeLoadBalancers", "*", nil); err != nil {
		return nil, err
	}
	balancers, err := c.account.LoadBalancers()
	if err == nil {
		balancers, err = selectByID(balancers, in.LoadBalancerArns, func(b aws.LoadBalancer) string { return b.ARN }, "LoadBalancerNotFound")
	}
	if err == nil {
		balancers, err = selectByID(balancers, in.Names, func(b aws.LoadBalancer) string { return b.Name }, "LoadBalancerNotFound")
	}
	out := &elasticloadbalancingv2.DescribeLoadBalancersOutput{LoadBalancers: []types.LoadBalancer{}}
	for _, b := range balancers {
		described, failure := c.describedBalancer(b)
		if failure != nil {
			return nil, failure
		}
		out.LoadBalancers = append(out.LoadBalancers, described)
	}
	return out, err
}

// balancer finds a load balancer.
func (c *call) balancer(arn *string) (aws.LoadBalancer, error) {
	balancers, err := c.account.LoadBalancers()
	at := slices.IndexFunc(balancers, func(b aws.LoadBalancer) bool { return b.ARN == value(arn) })
	switch {
	case err != nil:
		return aws.LoadBalancer{}, err
	case at < 0:
		return aws.LoadBalancer{}, refuse("LoadBalancerNotFound", "Load balancer '%s' not found", value(arn))
	}
	return balancers[at], nil
}

// authorizedBalancer finds a load balancer, if the caller's role allows the action on it.
func (c *call) authorizedBalancer(arn *string, action string) (aws.LoadBalancer, error) {
	b, err := c.balancer(arn)
	if err != nil {
		return b, err
	}
	return b, c.authorize(elbService+":"+action, b.ARN, tags(resourceTag, b.Tags))
}

func (c *call) deleteLoadBalancer(in *elasticloadbalancingv2.DeleteLoadBalancerInput) (*elasticloadbalancingv2.DeleteLoadBalancerOutput, error) {
	out := &elasticloadbalancingv2.DeleteLoadBalancerOutput{}
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return nil, err
	}
	// Deleting a load balancer that does not exist succeeds, if the caller's role allows the action.
	if !slices.ContainsFunc(balancers, func(b aws.LoadBalancer) bool { return b.ARN == value(in.LoadBalancerArn) }) {
		return out, c.authorize(elbService+":DeleteLoadBalancer", value(in.LoadBalancerArn), nil)
	}
	b, err := c.authorizedBalancer(in.LoadBalancerArn, "DeleteLoadBalancer")
	switch {
	case err != nil:
		return nil, err
	case b.Attributes[deletionProtection] == "true":
		return nil, refuse("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", b.ARN)
	}
	return out, c.account.DeleteLoadBalancer(b.ARN, time.Now().Add(c.release))
}

func (c *call) setSecurityGroups(in *elasticloadbalancingv2.SetSecurityGroupsInput) (*elasticloadbalancingv2.SetSecurityGroupsOutput, error) {
	b, err := c.authorizedBalancer(in.LoadBalancerArn, "SetSecurityGroups")
	if err != nil {
		return nil, err
	}
	b.SecurityGroupIDs = in.SecurityGroups
	if err := c.checkPlacement(&b); err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.SetSecurityGroupsOutput{SecurityGroupIds: b.SecurityGroupIDs}, c.account.PutLoadBalancer(b)
}

func (c *call) setSubnets(in *elasticloadbalancingv2.SetSubnetsInput) (*elasticloadbalancingv2.SetSubnetsOutput, error) {
	b, err := c.authorizedBalancer(in.LoadBalancerArn, "SetSubnets")
	if err != nil {
		return nil, err
	}
	b.SubnetIDs = subnetsOf(in.Subnets, in.SubnetMappings)
	if err := c.checkPlacement(&b); err != nil {
		return nil, err
	}
	described, err := c.describedBalancer(b)
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.SetSubnetsOutput{AvailabilityZones: described.AvailabilityZones}, c.account.PutLoadBalancer(b)
}

func (c *call) describeLoadBalancerAttributes(in *elasticloadbalancingv2.DescribeLoadBalancerAttributesInput) (*elasticloadbalancingv2.DescribeLoadBalancerAttributesOutput, error) {
	if err := c.authorize(elbService+":DescribeLoadBalancerAttributes", "*", nil); err != nil {
		return nil, err
	}
	b, err := c.balancer(in.LoadBalancerArn)
	out := &elasticloadbalancingv2.DescribeLoadBalancerAttributesOutput{}
	now := attributes(balancerAttributes, b.Attributes)
	for _, key := range keys(now) {
		out.Attributes = append(out.Attributes, types.LoadBalancerAttribute{Key: &key, Value: pointer(now[key])})
	}
	return out, err
}

func (c *call) modifyLoadBalancerAttributes(in *elasticloadbalancingv2.ModifyLoadBalancerAttributesInput) (*elasticloadbalancingv2.ModifyLoadBalancerAttributesOutput, error) {
	b, err := c.authorizedBalancer(in.LoadBalancerArn, "ModifyLoadBalancerAttributes")
	if err != nil {
		return nil, err
	}
	if b.Attributes == nil {
		b.Attributes = map[string]string{}
	}
	for _, a := range in.Attributes {
		if err := setAttribute(b.Attributes, balancerAttributes, value(a.Key), value(a.Value), deletionProtection); err != nil {
			return nil, err
		}
	}
	return &elasticloadbalancingv2.ModifyLoadBalancerAttributesOutput{Attributes: in.Attributes}, c.account.PutLoadBalancer(b)
}

// attributes returns the default attributes, overridden by own.
func attributes(defaults, own map[string]string) map[string]string {
	all := maps.Clone(defaults)
	maps.Copy(all, own)
	return all
}

// setAttribute sets an attribute. Only those in free may have another value than the default, as the rehearsal does not
// support the others.
func setAttribute(own, defaults map[string]string, key, to string, free ...string) error {
	is, known := defaults[key]
	switch {
	case !known:
		return refuse("ValidationError", "Load balancer attribute key '%s' is not recognized", key)
	case is != to && !slices.Contains(free, key):
		return refuse("ValidationError", "The attribute %s is always %q in the rehearsal, and cannot be set to %q", key, is, to)
	}
	own[key] = to
	return nil
}
