package api

import (
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/aws"
)

// groupAttributes are AWS's default attributes of a target group. In the rehearsal a deregistered target is removed at
// once, regardless of its deregistration delay.
var groupAttributes = map[string]string{
	deregistrationDelay:                                                              "300",
	"load_balancing.algorithm.type":                                                  "round_robin",
	"load_balancing.algorithm.anomaly_mitigation":                                    "off",
	"load_balancing.cross_zone.enabled":                                              "use_load_balancer_configuration",
	"slow_start.duration_seconds":                                                    "0",
	"stickiness.enabled":                                                             "false",
	"stickiness.type":                                                                "lb_cookie",
	"stickiness.lb_cookie.duration_seconds":                                          "86400",
	"stickiness.app_cookie.cookie_name":                                              "",
	"stickiness.app_cookie.duration_seconds":                                         "86400",
	"target_group_health.dns_failover.minimum_healthy_targets.count":                 "1",
	"target_group_health.dns_failover.minimum_healthy_targets.percentage":            "off",
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count":      "1",
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}

const deregistrationDelay = "deregistration_delay.timeout_seconds"

func (c *call) createTargetGroup(in *elasticloadbalancingv2.CreateTargetGroupInput) (*elasticloadbalancingv2.CreateTargetGroupOutput, error) {
	given, resource := elbTagMap(in.Tags), "targetgroup/"+value(in.Name)
	if err := c.authorizeCreate("CreateTargetGroup", c.arn(elbService, resource+"/*"), nil, c.arn(elbService, resource+"/*"), given); err != nil {
		return nil, err
	}
	g := aws.TargetGroup{
		ARN: c.randomARN(resource), Name: value(in.Name), VPCID: value(in.VpcId), Protocol: string(in.Protocol),
		ProtocolVersion: value(in.ProtocolVersion), Port: int(value(in.Port)), Tags: given,
		HealthCheck: aws.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Codes: "200", Interval: 30, Timeout: 5, HealthyThreshold: 5, UnhealthyThreshold: 2},
	}
	if g.ProtocolVersion == "" {
		g.ProtocolVersion = "HTTP1"
	}
	groups, err := c.account.TargetGroups()
	if err != nil {
		return nil, err
	}
	vpcs, err := c.account.VPCs()
	if err != nil {
		return nil, err
	}
	switch {
	case in.TargetType != "" && in.TargetType != types.TargetTypeEnumInstance:
		return nil, refuse("ValidationError", "The rehearsal does not support target groups of type '%s'", in.TargetType)
	case in.IpAddressType != "" && in.IpAddressType != types.TargetGroupIpAddressTypeEnumIpv4:
		return nil, refuse("ValidationError", "The rehearsal does not support target groups with addresses of type '%s'", in.IpAddressType)
	case !balancerName.MatchString(g.Name):
		return nil, refuse("ValidationError", "The target group name '%s' must have 1 to 32 letters, digits and hyphens", g.Name)
	case g.Protocol != "HTTP" && g.Protocol != "HTTPS":
		return nil, refuse("ValidationError", "'%s' is not a protocol of the rehearsal's target groups: HTTP, HTTPS", g.Protocol)
	case g.ProtocolVersion != "HTTP1":
		return nil, refuse("ValidationError", "The rehearsal's load balancers speak HTTP1 to their targets, not %s", g.ProtocolVersion)
	case g.Port < 1 || g.Port > 65535:
		return nil, refuse("ValidationError", "Port %d of target group '%s' is not within 1-65535", g.Port, g.Name)
	case !slices.ContainsFunc(vpcs, func(v aws.VPC) bool { return v.ID == g.VPCID }):
		return nil, refuse("ValidationError", "The VPC ID '%s' is not found", g.VPCID)
	case slices.ContainsFunc(groups, func(is aws.TargetGroup) bool { return is.Name == g.Name }):
		return nil, refuse("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", g.Name)
	}
	err = updateHealthCheck(&g.HealthCheck, healthInput{
		in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath, in.Matcher,
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount,
	})
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{describedGroup(g, nil)}}, c.account.PutTargetGroup(g)
}

// healthInput holds the settings of health checks that CreateTargetGroup and ModifyTargetGroup have in common. A nil
// field leaves the setting unchanged.
type healthInput struct {
	enabled                               *bool
	protocol                              types.ProtocolEnum
	port, path                            *string
	matcher                               *types.Matcher
	interval, timeout, healthy, unhealthy *int32
}

// updateHealthCheck applies and validates settings of health checks.
func updateHealthCheck(h *aws.HealthCheck, in healthInput) error {
	for to, number := range map[*int]*int32{&h.Interval: in.interval, &h.Timeout: in.timeout, &h.HealthyThreshold: in.healthy, &h.UnhealthyThreshold: in.unhealthy} {
		if number != nil {
			*to = int(*number)
		}
	}
	for to, word := range map[*string]*string{&h.Port: in.port, &h.Path: in.path} {
		if word != nil {
			*to = *word
		}
	}
	if in.protocol != "" {
		h.Protocol = string(in.protocol)
	}
	if in.matcher != nil && in.matcher.HttpCode != nil {
		h.Codes = *in.matcher.HttpCode
	}
	number, err := strconv.Atoi(h.Port)
	switch {
	case in.enabled != nil && !*in.enabled:
		return refuse("ValidationError", "Health checks cannot be disabled for target groups with target type 'instance'")
	case h.Protocol != "HTTP" && h.Protocol != "HTTPS":
		return refuse("ValidationError", "'%s' is not a protocol of the rehearsal's health checks: HTTP, HTTPS", h.Protocol)
	case h.Port != "traffic-port" && (err != nil || number < 1 || number > 65535):
		return refuse("ValidationError", "Health check port '%s' must be 'traffic-port' or a number from 1 to 65535", h.Port)
	case h.Interval < 5 || h.Interval > 300 || h.Timeout < 2 || h.Timeout > 120 || h.Timeout >= h.Interval:
		return refuse("ValidationError", "Health check interval %d must be within 5-300 and greater than the timeout %d, which is within 2-120", h.Interval, h.Timeout)
	case h.HealthyThreshold < 2 || h.HealthyThreshold > 10 || h.UnhealthyThreshold < 2 || h.UnhealthyThreshold > 10:
		return refuse("ValidationError", "Health check threshold counts must be within 2-10")
	}
	return nil
}

func describedGroup(g aws.TargetGroup, balancers []aws.LoadBalancer) types.TargetGroup {
	h := g.HealthCheck
	described := types.TargetGroup{
		TargetGroupArn: &g.ARN, TargetGroupName: &g.Name, VpcId: &g.VPCID, TargetType: types.TargetTypeEnumInstance, IpAddressType: types.TargetGroupIpAddressTypeEnumIpv4,
		Protocol: types.ProtocolEnum(g.Protocol), ProtocolVersion: &g.ProtocolVersion, Port: number(g.Port),
		HealthCheckEnabled: pointer(true), HealthCheckProtocol: types.ProtocolEnum(h.Protocol), HealthCheckPort: &h.Port, HealthCheckPath: &h.Path,
		HealthCheckIntervalSeconds: number(h.Interval), HealthCheckTimeoutSeconds: number(h.Timeout),
		HealthyThresholdCount: number(h.HealthyThreshold), UnhealthyThresholdCount: number(h.UnhealthyThreshold), Matcher: &types.Matcher{HttpCode: &h.Codes},
	}
	for _, b := range balancers {
		if slices.Contains(b.Forwards(), g.ARN) {
			described.LoadBalancerArns = append(described.LoadBalancerArns, b.ARN)
		}
	}
	return described
}

func number(n int) *int32 { return pointer(int32(n)) } //nolint:gosec // ports and seconds fit into 32 bits

func (c *call) describeTargetGroups(in *elasticloadbalancingv2.DescribeTargetGroupsInput) (*elasticloadbalancingv2.DescribeTargetGroupsOutput, error) {
	if err := c.authorize(elbService+":DescribeTargetGroups", "*", nil); err != nil {
		return nil, err
	}
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return nil, err
	}
	groups, err := c.account.TargetGroups()
	if err == nil {
		groups, err = selectByID(groups, in.TargetGroupArns, func(g aws.TargetGroup) string { return g.ARN }, "TargetGroupNotFound")
	}
	if err == nil {
		groups, err = selectByID(groups, in.Names, func(g aws.TargetGroup) string { return g.Name }, "TargetGroupNotFound")
	}
	out := &elasticloadbalancingv2.DescribeTargetGroupsOutput{TargetGroups: []types.TargetGroup{}}
	for _, g := range groups {
		described := describedGroup(g, balancers)
		if in.LoadBalancerArn == nil || slices.Contains(described.LoadBalancerArns, *in.LoadBalancerArn) {
			out.TargetGroups = append(out.TargetGroups, described)
		}
	}
	return out, err
}

// group finds a target group.
func (c *call) group(arn *string) (aws.TargetGroup, error) {
	groups, err := c.account.TargetGroups()
	at := slices.IndexFunc(groups, func(g aws.TargetGroup) bool { return g.ARN == value(arn) })
	switch {
	case err != nil:
		return aws.TargetGroup{}, err
	case at < 0:
		return aws.TargetGroup{}, refuse("TargetGroupNotFound", "Target groups '%s' not found", value(arn))
	}
	return groups[at], nil
}

// authorizedGroup finds a target group, if the caller's role allows the action on it.
func (c *call) authorizedGroup(arn *string, action string) (aws.TargetGroup, error) {
	g, err := c.group(arn)
	if err != nil {
		return g, err
	}
	return g, c.authorize(elbService+":"+action, g.ARN, tags(resourceTag, g.Tags))
}

func (c *call) modifyTargetGroup(in *elasticloadbalancingv2.ModifyTargetGroupInput) (*elasticloadbalancingv2.ModifyTargetGroupOutput, error) {
	g, err := c.authorizedGroup(in.TargetGroupArn, "ModifyTargetGroup")
	if err != nil {
		return nil, err
	}
	err = updateHealthCheck(&g.HealthCheck, healthInput{
		in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath, in.Matcher,
		in.HealthCheckIntervalSeconds, in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount,
	})
	if err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.ModifyTargetGroupOutput{TargetGroups: []types.TargetGroup{describedGroup(g, nil)}}, c.account.PutTargetGroup(g)
}

func (c *call) deleteTargetGroup(in *elasticloadbalancingv2.DeleteTargetGroupInput) (*elasticloadbalancingv2.DeleteTargetGroupOutput, error) {
	g, err := c.authorizedGroup(in.TargetGroupArn, "DeleteTargetGroup")
	if err != nil {
		return nil, err
	}
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return nil, err
	}
	for _, b := range balancers {
		if slices.Contains(b.Forwards(), g.ARN) {
			return nil, refuse("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", g.ARN)
		}
	}
	return &elasticloadbalancingv2.DeleteTargetGroupOutput{}, c.account.DeleteTargetGroup(g.ARN)
}

func (c *call) describeTargetGroupAttributes(in *elasticloadbalancingv2.DescribeTargetGroupAttributesInput) (*elasticloadbalancingv2.DescribeTargetGroupAttributesOutput, error) {
	if err := c.authorize(elbService+":DescribeTargetGroupAttributes", "*", nil); err != nil {
		return nil, err
	}
	g, err := c.group(in.TargetGroupArn)
	out := &elasticloadbalancingv2.DescribeTargetGroupAttributesOutput{}
	now := attributes(groupAttributes, g.Attributes)
	for _, key := range keys(now) {
		out.Attributes = append(out.Attributes, types.TargetGroupAttribute{Key: &key, Value: pointer(now[key])})
	}
	return out, err
}

func (c *call) modifyTargetGroupAttributes(in *elasticloadbalancingv2.ModifyTargetGroupAttributesInput) (*elasticloadbalancingv2.ModifyTargetGroupAttributesOutput, error) {
	g, err := c.authorizedGroup(in.TargetGroupArn, "ModifyTargetGroupAttributes")
	if err != nil {
		return nil, err
	}
	if g.Attributes == nil {
		g.Attributes = map[string]string{}
	}
	for _, a := range in.Attributes {
		if err := setAttribute(g.Attributes, groupAttributes, value(a.Key), value(a.Value), deregistrationDelay); err != nil {
			return nil, err
		}
	}
	return &elasticloadbalancingv2.ModifyTargetGroupAttributesOutput{Attributes: in.Attributes}, c.account.PutTargetGroup(g)
}

// targets converts the targets of a request. The default port is the group's.
func targets(g aws.TargetGroup, list []types.TargetDescription) (all []aws.Target) {
	for _, t := range list {
		target := aws.Target{InstanceID: value(t.Id), Port: g.Port}
		if t.Port != nil {
			target.Port = int(*t.Port)
		}
		all = append(all, target)
	}
	return all
}

func (c *call) registerTargets(in *elasticloadbalancingv2.RegisterTargetsInput) (*elasticloadbalancingv2.RegisterTargetsOutput, error) {
	g, err := c.authorizedGroup(in.TargetGroupArn, "RegisterTargets")
	if err != nil {
		return nil, err
	}
	instances, err := c.account.Instances()
	if err != nil {
		return nil, err
	}
	for _, t := range targets(g, in.Targets) {
		if !slices.ContainsFunc(instances, func(i aws.Instance) bool { return i.ID == t.InstanceID && i.VPCID == g.VPCID }) {
			return nil, refuse("InvalidTarget", "The following targets are not in the target group VPC '%s': '%s'", g.VPCID, t.InstanceID)
		}
		if !slices.Contains(g.Targets, t) {
			g.Targets = append(g.Targets, t)
		}
	}
	return &elasticloadbalancingv2.RegisterTargetsOutput{}, c.account.PutTargetGroup(g)
}

func (c *call) deregisterTargets(in *elasticloadbalancingv2.DeregisterTargetsInput) (*elasticloadbalancingv2.DeregisterTargetsOutput, error) {
	g, err := c.authorizedGroup(in.TargetGroupArn, "DeregisterTargets")
	if err != nil {
		return nil, err
	}
	gone := targets(g, in.Targets)
	g.Targets = slices.DeleteFunc(g.Targets, func(t aws.Target) bool { return slices.Contains(gone, t) })
	return &elasticloadbalancingv2.DeregisterTargetsOutput{}, c.account.PutTargetGroup(g)
}

// describeTargetHealth returns whether targets are in use: it reports every target that is in use as healthy. The
// results of health checks are known only to the running load balancers, in package balancer.
func (c *call) describeTargetHealth(in *elasticloadbalancingv2.DescribeTargetHealthInput) (*elasticloadbalancingv2.DescribeTargetHealthOutput, error) {
	if err := c.authorize(elbService+":DescribeTargetHealth", "*", nil); err != nil {
		return nil, err
	}
	g, err := c.group(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	balancers, err := c.account.LoadBalancers()
	health := &types.TargetHealth{State: types.TargetHealthStateEnumHealthy}
	if len(describedGroup(g, balancers).LoadBalancerArns) == 0 {
		health = &types.TargetHealth{State: types.TargetHealthStateEnumUnused, Reason: types.TargetHealthReasonEnumNotInUse}
	}
	wanted := targets(g, in.Targets)
	out := &elasticloadbalancingv2.DescribeTargetHealthOutput{}
	for _, t := range g.Targets {
		if len(wanted) == 0 || slices.Contains(wanted, t) {
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, types.TargetHealthDescription{
				Target: &types.TargetDescription{Id: &t.InstanceID, Port: number(t.Port)}, TargetHealth: health,
			})
		}
	}
	return out, err
}
