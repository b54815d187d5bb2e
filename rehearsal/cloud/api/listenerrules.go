package api

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/cloud/aws"
)

// defaultRule returns the ARN of a listener's default rule.
func defaultRule(l aws.Listener) string { return childARN(l.ARN, "listener-rule", "default") }

// rule finds a rule, with its listener and load balancer.
func (c *call) rule(arn *string) (b aws.LoadBalancer, l *aws.Listener, r *aws.ListenerRule, err error) {
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return b, nil, nil, err
	}
	for _, b := range balancers {
		for i := range b.Listeners {
			for j := range b.Listeners[i].Rules {
				if b.Listeners[i].Rules[j].ARN == value(arn) {
					return b, &b.Listeners[i], &b.Listeners[i].Rules[j], nil
				}
			}
		}
	}
	return b, nil, nil, refuse("RuleNotFound", "One or more rules not found: '%s'", value(arn))
}

// authorizedRule finds a rule, if the caller's role allows the action on it.
func (c *call) authorizedRule(arn *string, action string) (aws.LoadBalancer, *aws.Listener, *aws.ListenerRule, error) {
	b, l, r, err := c.rule(arn)
	if err != nil {
		return b, nil, nil, err
	}
	return b, l, r, c.authorize(elbService+":"+action, r.ARN, tags(resourceTag, r.Tags))
}

func (c *call) createRule(in *elasticloadbalancingv2.CreateRuleInput) (*elasticloadbalancingv2.CreateRuleOutput, error) {
	b, l, err := c.listener(in.ListenerArn)
	if err != nil {
		return nil, err
	}
	given := elbTagMap(in.Tags)
	if err := c.authorizeCreate("CreateRule", l.ARN, l.Tags, childARN(l.ARN, "listener-rule", "*"), given); err != nil {
		return nil, err
	}
	r := aws.ListenerRule{ARN: childARN(l.ARN, "listener-rule", aws.RandomHex(16)), Tags: given, Priority: int(value(in.Priority)), Conditions: in.Conditions}
	if r.Actions, err = c.completeActions(in.Actions); err != nil {
		return nil, err
	}
	l.Rules = append(l.Rules, r)
	if err := checkRules(*l); err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.CreateRuleOutput{Rules: []types.Rule{describedRule(r)}}, c.account.PutLoadBalancer(b)
}

func (c *call) modifyRule(in *elasticloadbalancingv2.ModifyRuleInput) (*elasticloadbalancingv2.ModifyRuleOutput, error) {
	b, l, r, err := c.authorizedRule(in.RuleArn, "ModifyRule")
	if err != nil {
		return nil, err
	}
	if in.Conditions != nil {
		r.Conditions = in.Conditions
	}
	if in.Actions != nil {
		if r.Actions, err = c.completeActions(in.Actions); err != nil {
			return nil, err
		}
	}
	if err := checkRules(*l); err != nil {
		return nil, err
	}
	return &elasticloadbalancingv2.ModifyRuleOutput{Rules: []types.Rule{describedRule(*r)}}, c.account.PutLoadBalancer(b)
}

func (c *call) deleteRule(in *elasticloadbalancingv2.DeleteRuleInput) (*elasticloadbalancingv2.DeleteRuleOutput, error) {
	b, l, r, err := c.authorizedRule(in.RuleArn, "DeleteRule")
	if err != nil {
		return nil, err
	}
	arn := r.ARN // DeleteFunc moves another rule to where r points
	l.Rules = slices.DeleteFunc(l.Rules, func(is aws.ListenerRule) bool { return is.ARN == arn })
	return &elasticloadbalancingv2.DeleteRuleOutput{}, c.account.PutLoadBalancer(b)
}

// setRulePriorities changes the priorities of several rules of one listener at once, so that rules can swap priorities.
func (c *call) setRulePriorities(in *elasticloadbalancingv2.SetRulePrioritiesInput) (*elasticloadbalancingv2.SetRulePrioritiesOutput, error) {
	out := &elasticloadbalancingv2.SetRulePrioritiesOutput{}
	var b aws.LoadBalancer
	var l *aws.Listener
	for i, pair := range in.RulePriorities {
		of, on, r, err := c.rule(pair.RuleArn)
		if err != nil {
			return nil, err
		}
		// AWS has no condition keys for this action, not even for the rule's tags.
		if err := c.authorize(elbService+":SetRulePriorities", r.ARN, nil); err != nil {
			return nil, err
		}
		if i == 0 {
			b, l = of, on
		}
		at := slices.IndexFunc(l.Rules, func(is aws.ListenerRule) bool { return is.ARN == r.ARN })
		if at < 0 {
			return nil, refuse("ValidationError", "The rules of a request must be of one listener")
		}
		l.Rules[at].Priority = int(value(pair.Priority))
		out.Rules = append(out.Rules, describedRule(l.Rules[at]))
	}
	if l == nil {
		return nil, refuse("ValidationError", "At least one rule must be specified")
	}
	if err := checkRules(*l); err != nil {
		return nil, err
	}
	return out, c.account.PutLoadBalancer(b)
}

func (c *call) describeRules(in *elasticloadbalancingv2.DescribeRulesInput) (*elasticloadbalancingv2.DescribeRulesOutput, error) {
	if err := c.authorize(elbService+":DescribeRules", "*", nil); err != nil {
		return nil, err
	}
	_, l, err := c.listener(in.ListenerArn)
	if err != nil {
		return nil, err
	}
	out := &elasticloadbalancingv2.DescribeRulesOutput{}
	for _, r := range slices.SortedFunc(slices.Values(l.Rules), func(a, b aws.ListenerRule) int { return cmp.Compare(a.Priority, b.Priority) }) {
		out.Rules = append(out.Rules, describedRule(r))
	}
	out.Rules = append(out.Rules, types.Rule{RuleArn: pointer(defaultRule(*l)), Priority: pointer("default"), IsDefault: pointer(true), Actions: l.Default})
	return out, nil
}

func describedRule(r aws.ListenerRule) types.Rule {
	conditions := slices.Clone(r.Conditions)
	for i := range conditions { // AWS returns the values in the deprecated field, too
		switch config := conditions[i]; {
		case config.HostHeaderConfig != nil:
			conditions[i].Values = config.HostHeaderConfig.Values
		case config.PathPatternConfig != nil:
			conditions[i].Values = config.PathPatternConfig.Values
		}
	}
	return types.Rule{RuleArn: &r.ARN, Priority: pointer(strconv.Itoa(r.Priority)), IsDefault: pointer(false), Conditions: conditions, Actions: r.Actions}
}

// lowestPriority is the highest number that a rule's priority may have.
const lowestPriority = 50000

// checkRules rejects rules that AWS would reject, or that the rehearsal's load balancers do not support.
func checkRules(l aws.Listener) error {
	taken := map[int]bool{}
	for _, r := range l.Rules {
		switch {
		case r.Priority < 1 || r.Priority > lowestPriority:
			return refuse("ValidationError", "Priority '%d' is not within 1-%d", r.Priority, lowestPriority)
		case taken[r.Priority]:
			return refuse("PriorityInUse", "Priority '%d' is currently in use", r.Priority)
		case len(r.Conditions) == 0:
			return refuse("ValidationError", "A condition must be specified")
		}
		taken[r.Priority] = true
		for _, condition := range r.Conditions {
			hosts, paths := condition.HostHeaderConfig, condition.PathPatternConfig
			switch field := value(condition.Field); {
			case field == "host-header" && hosts != nil && len(hosts.Values) > 0 && hosts.RegexValues == nil:
			case field == "path-pattern" && paths != nil && len(paths.Values) > 0 && paths.RegexValues == nil:
			default:
				return refuse("ValidationError", "Condition field '%s': the rehearsal's load balancers support only conditions on hosts and paths, with HostHeaderConfig and PathPatternConfig", field)
			}
		}
	}
	return nil
}

// completeActions rejects actions that the rehearsal's load balancers do not support, and fills in the defaults that
// AWS returns.
func (c *call) completeActions(list []types.Action) ([]types.Action, error) {
	if len(list) != 1 {
		return nil, refuse("ValidationError", "The rehearsal's load balancers support one action for a request, not %d", len(list))
	}
	action := list[0]
	forward := action.ForwardConfig
	switch {
	case action.Type == types.ActionTypeEnumForward && forward != nil:
		if len(forward.TargetGroups) != 1 || forward.TargetGroupStickinessConfig != nil && value(forward.TargetGroupStickinessConfig.Enabled) {
			return nil, refuse("ValidationError", "The rehearsal's load balancers forward to one target group, without stickiness")
		}
		action.TargetGroupArn = forward.TargetGroups[0].TargetGroupArn
	case action.Type == types.ActionTypeEnumForward && action.TargetGroupArn != nil:
		action.ForwardConfig = &types.ForwardActionConfig{TargetGroups: []types.TargetGroupTuple{{TargetGroupArn: action.TargetGroupArn, Weight: pointer(int32(1))}}}
	case action.Type == types.ActionTypeEnumRedirect && action.RedirectConfig != nil:
		r := *action.RedirectConfig
		for to, usual := range map[**string]string{&r.Host: "#{host}", &r.Path: "/#{path}", &r.Port: "#{port}", &r.Protocol: "#{protocol}", &r.Query: "#{query}"} {
			if *to == nil {
				*to = &usual
			}
		}
		action.RedirectConfig = &r
	case action.Type == types.ActionTypeEnumFixedResponse && action.FixedResponseConfig != nil:
	default:
		return nil, refuse("ValidationError", "Action type '%s' must be one of 'forward,redirect,fixed-response', which the rehearsal's load balancers support, with its settings", action.Type)
	}
	if action.Type == types.ActionTypeEnumForward {
		if _, err := c.group(action.TargetGroupArn); err != nil {
			return nil, err
		}
	}
	if action.Order == nil {
		action.Order = pointer(int32(1))
	}
	return []types.Action{action}, nil
}
