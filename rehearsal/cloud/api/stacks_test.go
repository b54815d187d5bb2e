package api_test

import (
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/client/ebs"
	"eco2/rehearsal/internal/setup"
)

// prod is what belongs to the stack prod in the account that the stacks dev and prod share.
type prod struct {
	balancer aws.LoadBalancer
	group    aws.TargetGroup
	volume   aws.Volume
}

func newProd(w *world) prod {
	w.Helper()
	arn := func(kind string) string {
		return "arn:aws:elasticloadbalancing:" + region + ":" + aws.AccountID + ":" + kind
	}
	tags := map[string]string{"elbv2.k8s.aws/cluster": "eco2-prod"}
	p := prod{
		group: aws.TargetGroup{ARN: arn("targetgroup/prod/0a"), Name: "prod", VPCID: w.VPC, Protocol: "HTTP", Port: 30080, Tags: tags,
			Targets: []aws.Target{{InstanceID: w.Instances[1], Port: 30080}}},
		volume: aws.Volume{ID: "vol-prod", AvailabilityZone: region + "a", SizeGiB: 1, Tags: map[string]string{
			"ebs.csi.aws.com/cluster": "true", "ebs.csi.aws.com/cluster-name": "eco2-prod"}},
	}
	p.balancer = aws.LoadBalancer{ARN: arn("loadbalancer/app/prod/0b"), Name: "prod", VPCID: w.VPC, SubnetIDs: w.Subnets[:2],
		SecurityGroupIDs: []string{w.Group}, Tags: tags, Listeners: []aws.Listener{{
			ARN: arn("listener/app/prod/0b/0c"), Port: 80, Protocol: "HTTP", Default: aws.RespondNotFound(), Tags: tags,
			Rules: []aws.ListenerRule{{ARN: arn("listener-rule/app/prod/0b/0c/0d"), Priority: 1, Actions: aws.ForwardTo(p.group.ARN),
				Conditions: []elbtypes.RuleCondition{aws.HostCondition(zone)}, Tags: tags}},
		}}}
	require.NoError(w, w.Account.PutTargetGroup(p.group))
	require.NoError(w, w.Account.PutLoadBalancer(p.balancer))
	require.NoError(w, w.Account.PutVolume(p.volume))
	w.Create("aws:ssm/parameter:Parameter", "password", props{"name": "/eco2/prod/password", "type": "SecureString", "value": "secret"})
	require.NoError(w, w.Account.PutRecord(aws.Record{ZoneID: setup.HostedZone, Name: zone, Type: "A", TTL: 60, Records: []string{"192.0.2.1"},
		Owner: "eco2-prod-node"}))
	return p
}

// The controllers of one stack may change nothing of another stack in the same account, and cannot take it over with
// their own cluster's tag.
func TestAnotherStackInTheAccount(t *testing.T) {
	b := newBalancing(t)
	is := newProd(b.world)
	before, err := b.Account.RecordsOf(setup.HostedZone)
	require.NoError(t, err)
	ctx := t.Context()
	own := elbTags("elbv2.k8s.aws/cluster", cluster)
	balancer, group := &is.balancer.ARN, &is.group.ARN
	listener, rule := &is.balancer.Listeners[0].ARN, &is.balancer.Listeners[0].Rules[0].ARN
	targets := []elbtypes.TargetDescription{{Id: &b.Instances[0]}}
	certificates := []elbtypes.Certificate{{CertificateArn: &b.certificate}}
	tag := func(arn *string) error {
		_, err := b.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{*arn}, Tags: own})
		return err
	}
	dns := route53.NewFromConfig(b.sdkConfig())
	record := func(names ...string) error {
		batch := &types.ChangeBatch{}
		for _, name := range names {
			batch.Changes = append(batch.Changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: text(name, `"dev"`)})
		}
		_, err := dns.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: sdk.String(setup.HostedZone), ChangeBatch: batch})
		return err
	}
	volume := func(target string, in any) error { return b.call(ebs.Service, target, in, nil) }

	for name, call := range map[string]func() error{
		"delete a load balancer": func() error {
			_, err := b.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: balancer})
			return err
		},
		"move a load balancer": func() error {
			_, err := b.SetSubnets(ctx, &elb.SetSubnetsInput{LoadBalancerArn: balancer, Subnets: b.Subnets[1:]})
			return err
		},
		"take over a load balancer": func() error { return tag(balancer) },
		"add a listener": func() error {
			_, err := b.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: balancer, Port: sdk.Int32(8080),
				Protocol: elbtypes.ProtocolEnumHttp, DefaultActions: aws.RespondNotFound(), Tags: own})
			return err
		},
		"modify a listener": func() error {
			_, err := b.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: listener, Port: sdk.Int32(81)})
			return err
		},
		"add a certificate": func() error {
			_, err := b.AddListenerCertificates(ctx, &elb.AddListenerCertificatesInput{ListenerArn: listener, Certificates: certificates})
			return err
		},
		"remove a certificate": func() error {
			_, err := b.RemoveListenerCertificates(ctx, &elb.RemoveListenerCertificatesInput{ListenerArn: listener, Certificates: certificates})
			return err
		},
		"delete a listener": func() error {
			_, err := b.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: listener})
			return err
		},
		"take over a listener": func() error { return tag(listener) },
		"add a rule": func() error {
			_, err := b.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: listener, Priority: sdk.Int32(2), Actions: aws.RespondNotFound(),
				Conditions: []elbtypes.RuleCondition{aws.PathCondition("/*")}, Tags: own})
			return err
		},
		"modify a rule": func() error {
			_, err := b.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: rule, Actions: aws.RespondNotFound()})
			return err
		},
		"delete a rule": func() error {
			_, err := b.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: rule})
			return err
		},
		"take over a rule": func() error { return tag(rule) },
		"register a target": func() error {
			_, err := b.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: group, Targets: targets})
			return err
		},
		"deregister a target": func() error {
			_, err := b.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: group, Targets: []elbtypes.TargetDescription{{Id: &b.Instances[1]}}})
			return err
		},
		"take over a target group": func() error { return tag(group) },
		"delete a volume":          func() error { return volume(ebs.DeleteVolume, ebs.VolumeID{VolumeID: is.volume.ID}) },
		"attach a volume": func() error {
			return volume(ebs.AttachVolume, ebs.Attachment{VolumeID: is.volume.ID, InstanceID: b.Instances[0]})
		},
		"read a parameter": func() error {
			return b.call("ssm", "AmazonSSM.GetParameter", props{"Name": "/eco2/prod/password", "WithDecryption": true}, nil)
		},
		"change the zone's own name":         func() error { return record(zone) },
		"prove prod's domain to an issuer":   func() error { return record("_acme-challenge." + zone) },
		"change a name that ends like dev's": func() error { return record("x" + domain) },
		"change prod's name beside its own":  func() error { return record("argocd."+domain, "www."+zone) },
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorContains(t, call(), "is not authorized to perform: ")
		})
	}
	t.Run("change another type of record of its own name", func(t *testing.T) {
		set := text(domain, "10 mail.example.org.")
		set.Type = types.RRTypeMx
		_, err := dns.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: sdk.String(setup.HostedZone),
			ChangeBatch: &types.ChangeBatch{Changes: []types.Change{{Action: types.ChangeActionUpsert, ResourceRecordSet: set}}}})
		assert.Equal(t, "AccessDenied", refused(t, err))
	})

	// AWS cannot restrict this action by tags.
	_, err = b.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []elbtypes.RulePriorityPair{{RuleArn: rule, Priority: sdk.Int32(1)}}})
	assert.NoError(t, err)

	balancers, err := b.Account.LoadBalancers()
	require.NoError(t, err)
	assert.Equal(t, []aws.LoadBalancer{is.balancer}, balancers)
	groups, err := b.Account.TargetGroups()
	require.NoError(t, err)
	assert.Equal(t, []aws.TargetGroup{is.group}, groups)
	volumes, err := b.Account.Volumes()
	require.NoError(t, err)
	assert.Equal(t, []aws.Volume{is.volume}, volumes)
	records, err := b.Account.RecordsOf(setup.HostedZone)
	require.NoError(t, err)
	assert.Equal(t, before, records)
}

// A worker's role may not do what the controllers do, so that nobody gets anything of AWS from a worker.
func TestAWorkersRole(t *testing.T) {
	w := newWorld(t)
	name := "/eco2/dev/password"
	w.Create("aws:ssm/parameter:Parameter", name, props{"name": name, "type": "SecureString", "value": "secret"})
	get := func() error {
		return w.call("ssm", "AmazonSSM.GetParameter", props{"Name": name, "WithDecryption": true}, nil)
	}
	require.NoError(t, get())
	instances, err := w.Account.Instances()
	require.NoError(t, err)
	for _, i := range instances {
		if i.ID == w.Instances[1] {
			w.From(w.VPC, i.PrivateIP)
		}
	}
	assert.Equal(t, "AccessDeniedException", code(t, get()))
	assert.Equal(t, "UnauthorizedOperation", code(t, w.call(ebs.Service, ebs.DescribeVolumes, ebs.VolumeIDs{}, nil)))
	assert.Equal(t, "AccessDeniedException", code(t, w.call("acm", "CertificateManager.ListCertificates", props{}, nil)))
}
