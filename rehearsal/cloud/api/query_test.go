package api_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
)

// sdkConfig returns a configuration for AWS's SDK on the first instance, without retries.
func (w *world) sdkConfig() sdk.Config {
	w.Helper()
	instances, err := w.Account.Instances()
	require.NoError(w, err)
	at := slices.IndexFunc(instances, func(i aws.Instance) bool { return i.ID == w.Instances[0] })
	session, ok, err := w.Account.SessionOf(instances[at])
	require.NoError(w, err)
	require.True(w, ok)
	return sdk.Config{
		Region: region, BaseEndpoint: &w.Server, Retryer: func() sdk.Retryer { return sdk.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.SecretAccessKey, session.Token),
	}
}

// refused returns the code of an API error of AWS's SDK.
func refused(t *testing.T, err error) string {
	t.Helper()
	var refusal smithy.APIError
	require.ErrorAs(t, err, &refusal)
	return refusal.ErrorCode()
}

func elbTags(pairs ...string) (tags []types.Tag) {
	for pair := range slices.Chunk(pairs, 2) {
		tags = append(tags, types.Tag{Key: &pair[0], Value: &pair[1]})
	}
	return tags
}

// balancing is a client for load balancers, with a world and a certificate.
type balancing struct {
	*world
	*elb.Client
	certificate string
}

func newBalancing(t *testing.T) balancing {
	t.Helper()
	w := newWorld(t)
	return balancing{w, elb.NewFromConfig(w.sdkConfig()), w.Certificate("argocd." + domain)}
}

func (b balancing) balancer() *elb.CreateLoadBalancerInput {
	return &elb.CreateLoadBalancerInput{
		Name: sdk.String("k8s-eco2dev-0123456789"), Subnets: b.Subnets[:2], SecurityGroups: []string{b.Group},
		Scheme: types.LoadBalancerSchemeEnumInternetFacing, Tags: elbTags("elbv2.k8s.aws/cluster", cluster),
	}
}

func (b balancing) group(name string) *elb.CreateTargetGroupInput {
	return &elb.CreateTargetGroupInput{
		Name: &name, VpcId: &b.VPC, Protocol: types.ProtocolEnumHttp, Port: sdk.Int32(30080), TargetType: types.TargetTypeEnumInstance,
		HealthCheckPath: sdk.String("/healthz"), Matcher: &types.Matcher{HttpCode: sdk.String("200-299")}, Tags: elbTags("elbv2.k8s.aws/cluster", cluster),
	}
}

// AWS's SDK creates a load balancer part by part, reads it back, and deletes it.
func TestLoadBalancers(t *testing.T) {
	b := newBalancing(t)
	ctx := t.Context()
	made, err := b.CreateLoadBalancer(ctx, b.balancer())
	require.NoError(t, err)
	balancer := made.LoadBalancers[0]
	assert.Regexp(t, `^k8s-eco2dev-0123456789-[0-9]+\.`+region+`\.elb\.amazonaws\.com$`, *balancer.DNSName)
	assert.Equal(t, b.VPC, *balancer.VpcId)
	assert.Equal(t, types.LoadBalancerStateEnumActive, balancer.State.Code)
	assert.Len(t, balancer.AvailabilityZones, 2)
	assert.WithinDuration(t, time.Now(), *balancer.CreatedTime, time.Minute)
	_, err = b.CreateLoadBalancer(ctx, b.balancer())
	assert.Equal(t, "DuplicateLoadBalancerName", refused(t, err))

	group, err := b.CreateTargetGroup(ctx, b.group("k8s-argocd-1"))
	require.NoError(t, err)
	target := group.TargetGroups[0].TargetGroupArn
	_, err = b.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: target, Targets: []types.TargetDescription{{Id: &b.Instances[0]}, {Id: &b.Instances[1], Port: sdk.Int32(30081)}}})
	require.NoError(t, err)
	health := func() (states []string) {
		t.Helper()
		out, err := b.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: target})
		require.NoError(t, err)
		for _, d := range out.TargetHealthDescriptions {
			states = append(states, fmt.Sprint(*d.Target.Port, " ", d.TargetHealth.State))
		}
		return states
	}
	assert.Equal(t, []string{"30080 unused", "30081 unused"}, health())

	listener, err := b.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: balancer.LoadBalancerArn, Port: sdk.Int32(443), Protocol: types.ProtocolEnumHttps,
		Certificates: []types.Certificate{{CertificateArn: &b.certificate}}, DefaultActions: aws.RespondNotFound(), Tags: elbTags("elbv2.k8s.aws/cluster", cluster, "a", "b"),
	})
	require.NoError(t, err)
	on := listener.Listeners[0].ListenerArn
	rule := func(priority int32, path string) (*elb.CreateRuleOutput, error) {
		return b.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: on, Priority: &priority, Actions: aws.ForwardTo(*target), Tags: elbTags("elbv2.k8s.aws/cluster", cluster, "c", "d"),
			Conditions: []types.RuleCondition{aws.HostCondition("argocd." + domain), aws.PathCondition(path)}})
	}
	second, err := rule(2, "/*")
	require.NoError(t, err)
	first, err := rule(1, "/api/*")
	require.NoError(t, err)
	_, err = rule(1, "/other")
	assert.Equal(t, "PriorityInUse", refused(t, err))
	assert.Equal(t, []string{"30080 healthy", "30081 healthy"}, health())
	_, err = b.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: target})
	assert.Equal(t, "ResourceInUse", refused(t, err))
	_, err = b.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{
		{RuleArn: first.Rules[0].RuleArn, Priority: sdk.Int32(2)}, {RuleArn: second.Rules[0].RuleArn, Priority: sdk.Int32(1)},
	}})
	require.NoError(t, err)
	rules, err := b.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: on})
	require.NoError(t, err)
	var seen []string
	for _, r := range rules.Rules {
		for _, c := range r.Conditions {
			if c.PathPatternConfig != nil {
				seen = append(seen, *r.Priority+" "+c.PathPatternConfig.Values[0])
			}
		}
		if *r.IsDefault {
			seen = append(seen, *r.Priority+" "+*r.Actions[0].FixedResponseConfig.StatusCode)
		}
	}
	assert.Equal(t, []string{"1 /*", "2 /api/*", "default 404"}, seen)
	tags, err := b.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{*balancer.LoadBalancerArn, *target, *on, *first.Rules[0].RuleArn, *rules.Rules[2].RuleArn}})
	require.NoError(t, err)
	var keys []string
	for _, d := range tags.TagDescriptions {
		for _, tag := range d.Tags {
			keys = append(keys, *tag.Key)
		}
	}
	const ofCluster = "elbv2.k8s.aws/cluster"
	assert.Equal(t, []string{ofCluster, ofCluster, "a", ofCluster, "c", ofCluster}, keys)

	inventory, err := b.Account.Inventory()
	require.NoError(t, err)
	assert.Equal(t, 1, inventory.Counts()["loadbalancer"])
	assert.Equal(t, len(b.Instances)+2, inventory.Counts()["networkInterface"])
	_, err = b.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: balancer.LoadBalancerArn})
	require.NoError(t, err)
	_, err = b.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: balancer.LoadBalancerArn})
	assert.Equal(t, "LoadBalancerNotFound", refused(t, err))
	_, err = b.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: on})
	assert.Equal(t, "ListenerNotFound", refused(t, err), "listeners are deleted with the load balancer")
	assert.Len(t, health(), 2, "target groups are not")
	_, err = b.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: target})
	require.NoError(t, err)
	inventory, err = b.Account.Inventory()
	require.NoError(t, err)
	assert.Zero(t, inventory.Counts()["loadbalancer"]+inventory.Counts()["targetGroup"])
	assert.Equal(t, len(b.Instances), inventory.Counts()["networkInterface"])
	assert.Empty(t, b.API.Denied())
}

func TestInvalidLoadBalancersAreRejected(t *testing.T) {
	b := newBalancing(t)
	foreign := b.Create("aws:ec2/securityGroup:SecurityGroup", "foreign", props{"name": "foreign", "vpcId": b.Create("aws:ec2/vpc:Vpc", "other", props{"cidrBlock": "10.1.0.0/16"})})
	pending := b.Create("aws:acm/certificate:Certificate", "certificate", props{"domainName": domain, "validationMethod": "DNS"})
	for name, test := range map[string]struct {
		change func(*elb.CreateLoadBalancerInput)
		code   string
	}{
		"of another cluster":               {func(in *elb.CreateLoadBalancerInput) { in.Tags = elbTags("elbv2.k8s.aws/cluster", "other") }, "AccessDenied"},
		"of no cluster":                    {func(in *elb.CreateLoadBalancerInput) { in.Tags = nil }, "AccessDenied"},
		"in one zone":                      {func(in *elb.CreateLoadBalancerInput) { in.Subnets = b.Subnets[:1] }, "ValidationError"},
		"twice in one zone":                {func(in *elb.CreateLoadBalancerInput) { in.Subnets = b.Subnets }, "InvalidConfigurationRequest"},
		"in a subnet that does not exist":  {func(in *elb.CreateLoadBalancerInput) { in.Subnets = []string{b.Subnets[0], "subnet-0"} }, "SubnetNotFound"},
		"with no group":                    {func(in *elb.CreateLoadBalancerInput) { in.SecurityGroups = nil }, "InvalidSecurityGroup"},
		"with a group that does not exist": {func(in *elb.CreateLoadBalancerInput) { in.SecurityGroups = []string{"sg-0"} }, "InvalidSecurityGroup"},
		"with a group of another VPC":      {func(in *elb.CreateLoadBalancerInput) { in.SecurityGroups = []string{foreign} }, "InvalidSecurityGroup"},
		"with a long name":                 {func(in *elb.CreateLoadBalancerInput) { in.Name = sdk.String(*in.Name + "01234567890123456789") }, "ValidationError"},
		"of type network":                  {func(in *elb.CreateLoadBalancerInput) { in.Type = types.LoadBalancerTypeEnumNetwork }, "ValidationError"},
		"with an unsupported setting":      {func(in *elb.CreateLoadBalancerInput) { in.CustomerOwnedIpv4Pool = sdk.String("x") }, "ValidationError"},
		"with an elastic address": {func(in *elb.CreateLoadBalancerInput) {
			in.Subnets, in.SubnetMappings = nil, []types.SubnetMapping{{SubnetId: &b.Subnets[0], AllocationId: sdk.String("x")}}
		}, "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			in := b.balancer()
			test.change(in)
			_, err := b.CreateLoadBalancer(t.Context(), in)
			assert.Equal(t, test.code, refused(t, err))
		})
	}
	list, err := b.Account.LoadBalancers()
	require.NoError(t, err)
	require.Empty(t, list)

	made, err := b.CreateLoadBalancer(t.Context(), b.balancer())
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(*elb.CreateListenerInput)
		code   string
	}{
		"of no cluster":                          {func(in *elb.CreateListenerInput) { in.Tags = nil }, "AccessDenied"},
		"without a certificate":                  {func(in *elb.CreateListenerInput) { in.Certificates = nil }, "ValidationError"},
		"with a certificate that does not exist": {func(in *elb.CreateListenerInput) { in.Certificates[0].CertificateArn = sdk.String("arn:x") }, "CertificateNotFound"},
		"with a pending certificate":             {func(in *elb.CreateListenerInput) { in.Certificates[0].CertificateArn = &pending }, "UnsupportedCertificate"},
		"with a policy that does not exist":      {func(in *elb.CreateListenerInput) { in.SslPolicy = sdk.String("x") }, "SSLPolicyNotFound"},
		"to a target group that does not exist":  {func(in *elb.CreateListenerInput) { in.DefaultActions = aws.ForwardTo("arn:x") }, "TargetGroupNotFound"},
		"with authentication": {func(in *elb.CreateListenerInput) {
			in.DefaultActions[0].Type = types.ActionTypeEnumAuthenticateOidc
		}, "ValidationError"},
		"of a load balancer that does not exist": {func(in *elb.CreateListenerInput) { in.LoadBalancerArn = sdk.String("arn:x") }, "LoadBalancerNotFound"},
	} {
		t.Run("a listener "+name, func(t *testing.T) {
			in := &elb.CreateListenerInput{
				LoadBalancerArn: made.LoadBalancers[0].LoadBalancerArn, Port: sdk.Int32(443), Protocol: types.ProtocolEnumHttps,
				Certificates: []types.Certificate{{CertificateArn: &b.certificate}}, DefaultActions: aws.RespondNotFound(),
				Tags: elbTags("elbv2.k8s.aws/cluster", cluster),
			}
			test.change(in)
			_, err := b.CreateListener(t.Context(), in)
			assert.Equal(t, test.code, refused(t, err))
		})
	}
	for name, test := range map[string]struct {
		change func(*elb.CreateTargetGroupInput)
		code   string
	}{
		"of another cluster":                 {func(in *elb.CreateTargetGroupInput) { in.Tags = elbTags("elbv2.k8s.aws/cluster", "other") }, "AccessDenied"},
		"without a port":                     {func(in *elb.CreateTargetGroupInput) { in.Port = nil }, "ValidationError"},
		"of type ip":                         {func(in *elb.CreateTargetGroupInput) { in.TargetType = types.TargetTypeEnumIp }, "ValidationError"},
		"in a VPC that does not exist":       {func(in *elb.CreateTargetGroupInput) { in.VpcId = sdk.String("vpc-0") }, "ValidationError"},
		"with a short health check interval": {func(in *elb.CreateTargetGroupInput) { in.HealthCheckIntervalSeconds = sdk.Int32(1) }, "ValidationError"},
	} {
		t.Run("a target group "+name, func(t *testing.T) {
			in := b.group("k8s-argocd-1")
			test.change(in)
			_, err := b.CreateTargetGroup(t.Context(), in)
			assert.Equal(t, test.code, refused(t, err))
		})
	}
	_, err = b.ModifyLoadBalancerAttributes(t.Context(), &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: made.LoadBalancers[0].LoadBalancerArn,
		Attributes: []types.LoadBalancerAttribute{{Key: sdk.String("routing.http2.enabled"), Value: sdk.String("false")}}})
	assert.Equal(t, "ValidationError", refused(t, err))
	_, err = b.DescribeTrustStores(t.Context(), &elb.DescribeTrustStoresInput{})
	assert.Equal(t, "InvalidAction", refused(t, err))
}

// AWS's SDK reads the network from EC2.
func TestNetwork(t *testing.T) {
	w := newWorld(t)
	client := ec2.NewFromConfig(w.sdkConfig())
	ctx := t.Context()
	filter := func(name string, values ...string) ec2types.Filter {
		return ec2types.Filter{Name: &name, Values: values}
	}
	subnets, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{filter("vpc-id", w.VPC), filter("tag:kubernetes.io/role/elb", "", "1")}})
	require.NoError(t, err)
	require.Len(t, subnets.Subnets, 3)
	assert.Equal(t, "1", *subnets.Subnets[0].Tags[0].Value)
	subnets, err = client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{filter("tag:kubernetes.io/role/internal-elb", "1")}})
	require.NoError(t, err)
	assert.Empty(t, subnets.Subnets)
	subnets, err = client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: w.Subnets[1:2]})
	require.NoError(t, err)
	require.Len(t, subnets.Subnets, 1)
	zones, err := client.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{ZoneIds: []string{*subnets.Subnets[0].AvailabilityZoneId}})
	require.NoError(t, err)
	assert.Equal(t, []string{region + "b", "availability-zone"}, []string{*zones.AvailabilityZones[0].ZoneName, *zones.AvailabilityZones[0].ZoneType})
	vpcs, err := client.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{w.VPC}})
	require.NoError(t, err)
	assert.Equal(t, ec2types.VpcCidrBlockStateCodeAssociated, vpcs.Vpcs[0].CidrBlockAssociationSet[0].CidrBlockState.State)
	tables, err := client.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{filter("vpc-id", w.VPC)}})
	require.NoError(t, err)
	require.Len(t, tables.RouteTables, 2)
	assert.True(t, *tables.RouteTables[0].Associations[0].Main)
	assert.Len(t, tables.RouteTables[1].Associations, 3)
	assert.Regexp(t, "^igw-", *tables.RouteTables[1].Routes[0].GatewayId)
	instances, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: w.Instances[:1]})
	require.NoError(t, err)
	instance := instances.Reservations[0].Instances[0]
	assert.Equal(t, []any{w.Instances[0], ec2types.InstanceStateNameRunning, w.VPC}, []any{*instance.InstanceId, instance.State.Name, *instance.VpcId})
	groups, err := client.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{w.Group}})
	require.NoError(t, err)
	assert.Equal(t, "cluster", *groups.SecurityGroups[0].GroupName)

	_, err = client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-0"}})
	assert.Equal(t, "InvalidSubnetID.NotFound", refused(t, err))
	_, err = client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{filter("state", "available")}})
	assert.Equal(t, "InvalidParameterValue", refused(t, err))
	_, err = client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{MaxResults: sdk.Int32(5)})
	assert.Equal(t, "ValidationError", refused(t, err))
	_, err = client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	assert.Equal(t, "InvalidAction", refused(t, err))
	_, err = client.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: sdk.String("k8s"), Description: sdk.String("k8s"), VpcId: &w.VPC})
	assert.ErrorContains(t, err, fmt.Sprintf("api error UnauthorizedOperation: You are not authorized to perform this operation. "+
		"User: arn:aws:sts::%s:assumed-role/eco2-dev-node/%s is not authorized to perform: ec2:CreateSecurityGroup on resource: arn:aws:ec2:%s:%s:vpc/%s because no identity-based policy allows the ec2:CreateSecurityGroup action",
		aws.AccountID, w.Instances[0], region, aws.AccountID, w.VPC))
	assert.Len(t, w.API.Denied(), 1)
}

func TestInjectedFailures(t *testing.T) {
	b := newBalancing(t)
	describe := func() error {
		_, err := b.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{})
		return err
	}
	b.API.FailNext("DescribeLoadBalancers", "", 2)
	for range 2 {
		assert.Equal(t, "Throttling", refused(t, describe()))
	}
	assert.NoError(t, describe())
	b.API.FailNext("DescribeSubnets", "", 1)
	_, err := ec2.NewFromConfig(b.sdkConfig()).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	assert.Equal(t, "RequestLimitExceeded", refused(t, err))
}

// The API lists the actions of a policy that nobody has called.
func TestUnusedActions(t *testing.T) {
	b := newBalancing(t)
	unused := func() []string {
		list, err := b.API.UnusedActions(b.Role, "load-balancers")
		require.NoError(t, err)
		return list
	}
	before := unused()
	const describe = "load-balancers, statement 2: elasticloadbalancing:DescribeLoadBalancers"
	assert.Contains(t, before, describe)
	_, err := b.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{})
	require.NoError(t, err)
	assert.Equal(t, slices.DeleteFunc(before, func(s string) bool { return s == describe }), unused())
	_, err = b.API.UnusedActions(b.Role, "none")
	assert.ErrorContains(t, err, "has no policy none")
}

// ACM lists certificates and describes their names.
func TestCertificates(t *testing.T) {
	w := newWorld(t)
	arn := w.Certificate("argocd." + domain)
	var list struct {
		CertificateSummaryList []struct{ CertificateArn, Status string }
	}
	require.NoError(t, w.call("acm", "CertificateManager.ListCertificates", props{"CertificateStatuses": []string{"ISSUED"}}, &list))
	require.Len(t, list.CertificateSummaryList, 1)
	assert.Equal(t, arn, list.CertificateSummaryList[0].CertificateArn)
	var one struct {
		Certificate struct{ SubjectAlternativeNames []string }
	}
	require.NoError(t, w.call("acm", "CertificateManager.DescribeCertificate", props{"CertificateArn": arn}, &one))
	assert.Equal(t, []string{"argocd." + domain}, one.Certificate.SubjectAlternativeNames)
	assert.Equal(t, "ResourceNotFoundException", code(t, w.call("acm", "CertificateManager.DescribeCertificate", props{"CertificateArn": "arn:x"}, nil)))
}
