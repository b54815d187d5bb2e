package describe

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
)

// AWS is what a controller asks of it.
type AWS interface {
	Call(ctx context.Context, service, target string, in, out any) error
}

const groupMissing = "no Ingress of the group has the annotation " + Annotation + "security-groups, so it needs a security group of its own: %w"

// Deploy makes the load balancer of a cluster's network what it should be, and says what it is.
func Deploy(ctx context.Context, aws AWS, cluster, vpc string, wanted elb.LoadBalancer) (is elb.LoadBalancer, err error) {
	if len(wanted.SecurityGroupIDs) == 0 {
		err := aws.Call(ctx, ec2.Service, ec2.CreateSecurityGroup, ec2.NewSecurityGroup{VpcID: vpc, GroupName: wanted.Name}, nil)
		return is, fmt.Errorf(groupMissing, cmp.Or(err, errors.New("the rehearsal's controller cannot use one")))
	}
	is, found, err := Find(ctx, aws, cluster, wanted.Name)
	switch {
	case err != nil:
	case !found:
		err = aws.Call(ctx, elb.Service, elb.CreateLoadBalancer, wanted, &is)
	case !Same(is, wanted):
		wanted.ARN = is.ARN
		err = aws.Call(ctx, elb.Service, elb.ModifyLoadBalancer, wanted, &is)
	}
	return is, err
}

// Find looks for a load balancer, which must be this cluster's.
func Find(ctx context.Context, aws AWS, cluster, name string) (is elb.LoadBalancer, found bool, err error) {
	var answer elb.LoadBalancers
	if err := aws.Call(ctx, elb.Service, elb.DescribeLoadBalancers, elb.Filter{Names: []string{name}}, &answer); err != nil {
		return is, false, err
	}
	if len(answer.LoadBalancers) == 0 {
		return is, false, nil
	}
	is = answer.LoadBalancers[0]
	if owner := is.Tags[ClusterTag]; owner != cluster {
		return is, false, fmt.Errorf("load balancer %s is not this cluster's: its tag %s is %q", name, ClusterTag, owner)
	}
	return is, true, nil
}
