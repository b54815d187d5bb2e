package loadbalancer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/incluster/loadbalancer/names"
)

// What a subnet says it is for.
const (
	publicTag    = "kubernetes.io/role/elb"
	internalTag  = "kubernetes.io/role/internal-elb"
	ownerTag     = "kubernetes.io/cluster/"
	neededZones  = 2
	groupMissing = "no Ingress of the group has the annotation " + annotation + "security-groups, so it needs a security group of its own: %w"
)

// subnets are those that the network's tags name for load balancers, one in each zone.
func (c *controller) subnets(ctx context.Context, internetFacing bool) ([]string, error) {
	var answer ec2.Subnets
	if err := c.aws.Call(ctx, ec2.Service, ec2.DescribeSubnets, ec2.InVPC{VpcID: c.VPC}, &answer); err != nil {
		return nil, err
	}
	tag := internalTag
	if internetFacing {
		tag = publicTag
	}
	slices.SortFunc(answer.Subnets, func(a, b ec2.Subnet) int {
		return cmp.Or(cmp.Compare(a.AvailabilityZone, b.AvailabilityZone), cmp.Compare(a.SubnetID, b.SubnetID))
	})
	var ids []string
	zone := ""
	for _, subnet := range answer.Subnets {
		if value, tagged := subnet.Tags[tag]; !tagged || value != "" && value != "1" || c.others(subnet) || subnet.AvailabilityZone == zone {
			continue
		}
		ids, zone = append(ids, subnet.SubnetID), subnet.AvailabilityZone
	}
	if len(ids) < neededZones {
		return nil, fmt.Errorf("couldn't auto-discover subnets: %d zone(s) of %s have one with the tag %s, and a load balancer needs %d",
			len(ids), c.VPC, tag, neededZones)
	}
	return ids, nil
}

// others says whether a subnet is for other clusters only.
func (c *controller) others(subnet ec2.Subnet) bool {
	foreign := false
	for tag := range subnet.Tags {
		if tag == ownerTag+c.Cluster {
			return false
		}
		foreign = foreign || len(tag) > len(ownerTag) && tag[:len(ownerTag)] == ownerTag
	}
	return foreign
}

// deploy makes the load balancer what it should be, and says what it is.
func (c *controller) deploy(ctx context.Context, wanted elb.LoadBalancer) (is elb.LoadBalancer, err error) {
	if len(wanted.SecurityGroupIDs) == 0 {
		err := c.aws.Call(ctx, ec2.Service, ec2.CreateSecurityGroup, ec2.NewSecurityGroup{VpcID: c.VPC, GroupName: wanted.Name}, nil)
		return is, fmt.Errorf(groupMissing, cmp.Or(err, errors.New("the rehearsal's controller cannot use one")))
	}
	is, found, err := c.find(ctx, wanted.Name)
	switch {
	case err != nil:
	case !found:
		err = c.aws.Call(ctx, elb.Service, elb.CreateLoadBalancer, wanted, &is)
	case !same(is, wanted):
		wanted.ARN = is.ARN
		err = c.aws.Call(ctx, elb.Service, elb.ModifyLoadBalancer, wanted, &is)
	}
	return is, err
}

// remove takes a group's load balancer away.
func (c *controller) remove(ctx context.Context, g group) error {
	is, found, err := c.find(ctx, names.LoadBalancer(c.Cluster, g.String()))
	if err != nil || !found {
		return err
	}
	if err := c.aws.Call(ctx, elb.Service, elb.DeleteLoadBalancer, elb.Reference{ARN: is.ARN}, nil); err != nil {
		return err
	}
	if _, found, err = c.find(ctx, is.Name); err == nil && found {
		err = fmt.Errorf("load balancer %s is still there", is.Name)
	}
	return err
}

// find looks for a load balancer, which must be this cluster's.
func (c *controller) find(ctx context.Context, name string) (is elb.LoadBalancer, found bool, err error) {
	var answer elb.LoadBalancers
	if err := c.aws.Call(ctx, elb.Service, elb.DescribeLoadBalancers, elb.Filter{Names: []string{name}}, &answer); err != nil {
		return is, false, err
	}
	if len(answer.LoadBalancers) == 0 {
		return is, false, nil
	}
	is = answer.LoadBalancers[0]
	if owner := is.Tags[clusterTag]; owner != c.Cluster {
		return is, false, fmt.Errorf("load balancer %s is not this cluster's: its tag %s is %q", name, clusterTag, owner)
	}
	return is, true, nil
}

// same compares what a controller decides of a load balancer.
func same(is, wanted elb.LoadBalancer) bool {
	is.ARN, is.DNSName, is.VPCID, is.State = "", "", "", ""
	a, errA := json.Marshal(is)
	b, errB := json.Marshal(wanted)
	return errA == nil && errB == nil && string(a) == string(b)
}
