package api

import (
	"maps"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// elbTagMap converts a list of tags to a map.
func elbTagMap(list []types.Tag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[value(tag.Key)] = value(tag.Value)
	}
	return tags
}

func elbTags(tags map[string]string) (list []types.Tag) {
	for _, key := range keys(tags) {
		list = append(list, types.Tag{Key: pointer(key), Value: pointer(tags[key])})
	}
	return list
}

// describedAtOnce is the maximum number of resources in one DescribeTags.
const describedAtOnce = 20

func (c *call) describeTags(in *elasticloadbalancingv2.DescribeTagsInput) (*elasticloadbalancingv2.DescribeTagsOutput, error) {
	if err := c.authorize(elbService+":DescribeTags", "*", nil); err != nil {
		return nil, err
	}
	if len(in.ResourceArns) == 0 || len(in.ResourceArns) > describedAtOnce {
		return nil, refuse("ValidationError", "DescribeTags takes 1 to %d resources, not %d", describedAtOnce, len(in.ResourceArns))
	}
	out := &elasticloadbalancingv2.DescribeTagsOutput{}
	for _, arn := range in.ResourceArns {
		tags, _, err := c.findTags(arn)
		if err != nil {
			return nil, err
		}
		out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: &arn, Tags: elbTags(tags)})
	}
	return out, nil
}

func (c *call) addTags(in *elasticloadbalancingv2.AddTagsInput) (*elasticloadbalancingv2.AddTagsOutput, error) {
	given := elbTagMap(in.Tags)
	return &elasticloadbalancingv2.AddTagsOutput{}, c.retag("AddTags", in.ResourceArns, tags(requestTag, given), func(tags map[string]string) {
		maps.Copy(tags, given)
	})
}

func (c *call) removeTags(in *elasticloadbalancingv2.RemoveTagsInput) (*elasticloadbalancingv2.RemoveTagsOutput, error) {
	return &elasticloadbalancingv2.RemoveTagsOutput{}, c.retag("RemoveTags", in.ResourceArns, nil, func(tags map[string]string) {
		for _, key := range in.TagKeys {
			delete(tags, key)
		}
	})
}

// retag changes the tags of resources, if the caller's role allows it.
func (c *call) retag(action string, arns []string, context map[string][]string, change func(map[string]string)) error {
	for _, arn := range arns {
		is, put, err := c.findTags(arn)
		if err != nil {
			return err
		}
		all := tags(resourceTag, is)
		maps.Copy(all, context)
		if err := c.authorize(elbService+":"+action, arn, all); err != nil {
			return err
		}
		now := map[string]string{}
		maps.Copy(now, is)
		change(now)
		if err := put(now); err != nil {
			return err
		}
	}
	return nil
}

// findTags returns the tags of a load balancer, a listener, a rule or a target group, and a function that replaces
// them.
func (c *call) findTags(arn string) (is map[string]string, put func(map[string]string) error, err error) {
	balancers, err := c.account.LoadBalancers()
	if err != nil {
		return nil, nil, err
	}
	for _, b := range balancers {
		at := func(tags *map[string]string) (map[string]string, func(map[string]string) error, error) {
			return *tags, func(now map[string]string) error { *tags = now; return c.account.PutLoadBalancer(b) }, nil
		}
		if b.ARN == arn {
			return at(&b.Tags)
		}
		for i := range b.Listeners {
			l := &b.Listeners[i]
			if l.ARN == arn {
				return at(&l.Tags)
			}
			for j := range l.Rules {
				if l.Rules[j].ARN == arn {
					return at(&l.Rules[j].Tags)
				}
			}
			if defaultRule(*l) == arn {
				return nil, func(map[string]string) error {
					return refuse("OperationNotPermitted", "The rehearsal does not support tags on default rules: '%s'", arn)
				}, nil
			}
		}
	}
	groups, err := c.account.TargetGroups()
	if err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		if g.ARN == arn {
			return g.Tags, func(now map[string]string) error { g.Tags = now; return c.account.PutTargetGroup(g) }, nil
		}
	}
	return nil, nil, refuse("ValidationError", "'%s' is not a load balancer, target group, listener or rule", arn)
}
