package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/controllers/describe"
)

const (
	balancing    = "elasticloadbalancing"
	groupMissing = "no Ingress in the group has the annotation " + describe.Annotation + "security-groups, so the load balancer needs its own security group: %w"
)

// existing finds the existing target groups of an Ingress group by their tags, and its load balancer by name.
func (s *snapshot) existing(name, group string) (is describe.Stack, found bool, err error) {
	balancers, err := s.account.LoadBalancers()
	if err != nil {
		return is, false, err
	}
	groups, err := s.account.TargetGroups()
	if err != nil {
		return is, false, err
	}
	for _, g := range groups {
		if g.Tags[describe.ClusterTag] == s.name && g.Tags[describe.GroupTag] == group {
			is.TargetGroups = append(is.TargetGroups, g)
		}
	}
	for _, b := range balancers {
		if b.Name == name {
			is.LoadBalancer, found = b, true
		}
	}
	return is, found, nil
}

// applyStack creates or updates a load balancer and its target groups, and returns the load balancer. Changed listeners
// are deleted and created again.
func (s *snapshot) applyStack(group string, wanted describe.Stack) (is aws.LoadBalancer, err error) {
	caller := s.caller()
	if len(wanted.SecurityGroupIDs) == 0 {
		_, err := api.CallQuery[ec2.CreateSecurityGroupOutput](caller, "ec2", "CreateSecurityGroup", &ec2.CreateSecurityGroupInput{VpcId: &s.machine.VPCID, GroupName: &wanted.Name})
		return is, fmt.Errorf(groupMissing, cmp.Or(err, errors.New("the model of the controller does not support that")))
	}
	now, found, err := s.existing(wanted.Name, group)
	if err != nil {
		return is, err
	}
	if owner := now.Tags[describe.ClusterTag]; found && owner != s.name {
		return is, fmt.Errorf("load balancer %s does not belong to this cluster: its tag %s is %q", now.Name, describe.ClusterTag, owner)
	}
	arns, err := s.targetGroups(caller, now.TargetGroups, wanted.TargetGroups)
	if err != nil {
		return is, err
	}
	resolveARNs(wanted.Listeners, arns)
	if !found {
		_, err := api.CallQuery[elb.CreateLoadBalancerOutput](caller, balancing, "CreateLoadBalancer", &elb.CreateLoadBalancerInput{
			Name: &wanted.Name, Scheme: types.LoadBalancerSchemeEnum(wanted.Scheme), Subnets: wanted.SubnetIDs, SecurityGroups: wanted.SecurityGroupIDs, Tags: elbTags(wanted.Tags),
		})
		if err != nil {
			return is, err
		}
		if now, _, err = s.existing(wanted.Name, group); err != nil {
			return is, err
		}
	}
	if err := s.setPlacement(caller, now.LoadBalancer, wanted.LoadBalancer); err != nil {
		return is, err
	}
	if err := s.listeners(caller, now.LoadBalancer, wanted.Listeners); err != nil {
		return is, err
	}
	return now.LoadBalancer, s.deleteUnusedGroups(caller, now.TargetGroups, wanted.TargetGroups)
}

// resolveARNs replaces the names of target groups in rules with their ARNs.
func resolveARNs(listeners []aws.Listener, arns map[string]string) {
	for _, l := range listeners {
		for i := range l.Rules {
			if group := l.Rules[i].Actions[0].TargetGroupArn; group != nil {
				l.Rules[i].Actions = aws.ForwardTo(arns[*group])
			}
		}
	}
}

// targetGroups creates missing target groups, registers their targets, and returns the ARNs by name.
func (s *snapshot) targetGroups(caller api.Caller, is, wanted []aws.TargetGroup) (arns map[string]string, err error) {
	arns = map[string]string{}
	for _, g := range wanted {
		at := slices.IndexFunc(is, func(is aws.TargetGroup) bool { return is.Name == g.Name })
		if at >= 0 {
			g.ARN = is[at].ARN
		} else {
			port := int32(g.Port) //nolint:gosec // it fits into 32 bits
			made, err := api.CallQuery[elb.CreateTargetGroupOutput](caller, balancing, "CreateTargetGroup", &elb.CreateTargetGroupInput{
				Name: &g.Name, VpcId: &s.machine.VPCID, Protocol: types.ProtocolEnum(g.Protocol), Port: &port, Tags: elbTags(g.Tags),
			})
			if err != nil {
				return nil, err
			}
			g.ARN = *made.TargetGroups[0].TargetGroupArn
			is, at = append(is, aws.TargetGroup{Name: g.Name}), len(is)
		}
		arns[g.Name] = g.ARN
		if reflect.DeepEqual(is[at].Targets, g.Targets) || len(g.Targets) == 0 {
			continue
		}
		input := &elb.RegisterTargetsInput{TargetGroupArn: &g.ARN}
		for _, t := range g.Targets {
			input.Targets = append(input.Targets, types.TargetDescription{Id: &t.InstanceID})
		}
		if _, err := api.CallQuery[elb.RegisterTargetsOutput](caller, balancing, "RegisterTargets", input); err != nil {
			return nil, err
		}
	}
	return arns, nil
}

// deleteUnusedGroups deletes the target groups that are not in wanted.
func (s *snapshot) deleteUnusedGroups(caller api.Caller, is, wanted []aws.TargetGroup) error {
	for _, g := range is {
		if slices.ContainsFunc(wanted, func(w aws.TargetGroup) bool { return w.Name == g.Name }) {
			continue
		}
		if _, err := api.CallQuery[elb.DeleteTargetGroupOutput](caller, balancing, "DeleteTargetGroup", &elb.DeleteTargetGroupInput{TargetGroupArn: &g.ARN}); err != nil {
			return err
		}
	}
	return nil
}

// setPlacement sets a load balancer's subnets and security groups.
func (s *snapshot) setPlacement(caller api.Caller, is, wanted aws.LoadBalancer) error {
	if !slices.Equal(sorted(is.SubnetIDs), sorted(wanted.SubnetIDs)) {
		_, err := api.CallQuery[elb.SetSubnetsOutput](caller, balancing, "SetSubnets", &elb.SetSubnetsInput{LoadBalancerArn: &is.ARN, Subnets: wanted.SubnetIDs})
		if err != nil {
			return err
		}
	}
	if slices.Equal(is.SecurityGroupIDs, wanted.SecurityGroupIDs) {
		return nil
	}
	_, err := api.CallQuery[elb.SetSecurityGroupsOutput](caller, balancing, "SetSecurityGroups", &elb.SetSecurityGroupsInput{LoadBalancerArn: &is.ARN, SecurityGroups: wanted.SecurityGroupIDs})
	return err
}

// listeners deletes and creates listeners of a load balancer so that they match wanted.
func (s *snapshot) listeners(caller api.Caller, b aws.LoadBalancer, wanted []aws.Listener) error {
	for _, is := range b.Listeners {
		if slices.ContainsFunc(wanted, func(w aws.Listener) bool { return fingerprint(w) == fingerprint(is) }) {
			continue
		}
		if _, err := api.CallQuery[elb.DeleteListenerOutput](caller, balancing, "DeleteListener", &elb.DeleteListenerInput{ListenerArn: &is.ARN}); err != nil {
			return err
		}
	}
	for _, w := range wanted {
		if slices.ContainsFunc(b.Listeners, func(is aws.Listener) bool { return fingerprint(w) == fingerprint(is) }) {
			continue
		}
		if err := createListener(caller, b, w); err != nil {
			return err
		}
	}
	return nil
}

// createListener creates a listener with its rules.
func createListener(caller api.Caller, b aws.LoadBalancer, w aws.Listener) error {
	port := int32(w.Port) //nolint:gosec // it fits into 32 bits
	input := &elb.CreateListenerInput{LoadBalancerArn: &b.ARN, Port: &port, Protocol: types.ProtocolEnum(w.Protocol), DefaultActions: w.Default, Tags: elbTags(w.Tags)}
	if len(w.CertificateARNs) > 0 {
		input.Certificates = []types.Certificate{{CertificateArn: &w.CertificateARNs[0]}}
	}
	made, err := api.CallQuery[elb.CreateListenerOutput](caller, balancing, "CreateListener", input)
	if err != nil {
		return err
	}
	listener := made.Listeners[0].ListenerArn
	for _, arn := range w.CertificateARNs[min(1, len(w.CertificateARNs)):] {
		further := &elb.AddListenerCertificatesInput{ListenerArn: listener, Certificates: []types.Certificate{{CertificateArn: &arn}}}
		if _, err := api.CallQuery[elb.AddListenerCertificatesOutput](caller, balancing, "AddListenerCertificates", further); err != nil {
			return err
		}
	}
	for _, r := range w.Rules {
		priority := int32(r.Priority) //nolint:gosec // it fits into 32 bits
		rule := &elb.CreateRuleInput{ListenerArn: listener, Priority: &priority, Conditions: r.Conditions, Actions: r.Actions, Tags: elbTags(r.Tags)}
		if _, err := api.CallQuery[elb.CreateRuleOutput](caller, balancing, "CreateRule", rule); err != nil {
			return err
		}
	}
	return nil
}

// fingerprint returns the settings of a listener that the controller determines, for comparisons.
func fingerprint(l aws.Listener) string {
	words := []string{fmt.Sprint(l.Port, l.Protocol, l.CertificateARNs, l.Default[0].Type)}
	for _, r := range l.Rules {
		for _, c := range r.Conditions {
			if c.HostHeaderConfig != nil {
				words = append(words, c.HostHeaderConfig.Values...)
			}
			if c.PathPatternConfig != nil {
				words = append(words, c.PathPatternConfig.Values...)
			}
		}
		if action := r.Actions[0]; action.RedirectConfig != nil {
			words = append(words, *action.RedirectConfig.Port, string(action.RedirectConfig.StatusCode))
		} else {
			words = append(words, *action.TargetGroupArn)
		}
	}
	return strings.Join(words, " ")
}

// deleteStack deletes a load balancer, if it exists, and then its target groups.
func (s *snapshot) deleteStack(caller api.Caller, is describe.Stack) error {
	if is.ARN != "" {
		if _, err := api.CallQuery[elb.DeleteLoadBalancerOutput](caller, balancing, "DeleteLoadBalancer", &elb.DeleteLoadBalancerInput{LoadBalancerArn: &is.ARN}); err != nil {
			return err
		}
	}
	return s.deleteUnusedGroups(caller, is.TargetGroups, nil)
}

func elbTags(tags map[string]string) (list []types.Tag) {
	for key, value := range tags {
		list = append(list, types.Tag{Key: &key, Value: &value})
	}
	return list
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
