package api

import (
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"eco2/rehearsal/cloud/aws"
)

// matchesFilters reports whether a resource matches all of EC2's filters, given its tags and the values of the other
// supported filters.
func matchesFilters(filters []types.Filter, tags, known map[string]string) (bool, error) {
	for _, f := range filters {
		is, ok := known[value(f.Name)]
		if key, tag := strings.CutPrefix(value(f.Name), "tag:"); tag {
			if is, ok = tags[key]; !ok {
				return false, nil
			}
		}
		switch {
		case !ok:
			return false, refuse("InvalidParameterValue", "The filter '%s' is invalid: the rehearsal does not support it", value(f.Name))
		case !slices.ContainsFunc(f.Values, func(pattern string) bool { return matches(pattern, is) }):
			return false, nil
		}
	}
	return true, nil
}

// selectByID returns the resources with these IDs, or all of them without any ID. It fails with code if an ID does not
// exist.
func selectByID[T any](all []T, ids []string, id func(T) string, code string) (found []T, err error) {
	for _, thing := range all {
		if len(ids) == 0 || slices.Contains(ids, id(thing)) {
			found = append(found, thing)
		}
	}
	for _, wanted := range ids {
		if !slices.ContainsFunc(found, func(thing T) bool { return id(thing) == wanted }) {
			return nil, refuse(code, "The ID '%s' does not exist", wanted)
		}
	}
	return found, nil
}

func ec2Tags(tags map[string]string) (list []types.Tag) {
	for _, key := range keys(tags) {
		list = append(list, types.Tag{Key: pointer(key), Value: pointer(tags[key])})
	}
	return list
}

func (c *call) describeSubnets(in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	if err := c.authorize("ec2:DescribeSubnets", "*", nil); err != nil {
		return nil, err
	}
	subnets, err := c.account.Subnets()
	if err != nil {
		return nil, err
	}
	subnets, err = selectByID(subnets, in.SubnetIds, func(s aws.Subnet) string { return s.ID }, "InvalidSubnetID.NotFound")
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeSubnetsOutput{Subnets: []types.Subnet{}}
	for _, s := range subnets {
		fits, err := matchesFilters(in.Filters, s.Tags, map[string]string{"vpc-id": s.VPCID})
		if err != nil {
			return nil, err
		}
		if fits {
			out.Subnets = append(out.Subnets, types.Subnet{
				SubnetId: &s.ID, VpcId: &s.VPCID, CidrBlock: &s.CIDR, State: types.SubnetStateAvailable, OwnerId: pointer(aws.AccountID),
				AvailabilityZone: &s.AvailabilityZone, AvailabilityZoneId: pointer(c.zoneID(s.AvailabilityZone)),
				// More than a load balancer needs. The account checks for free addresses when it assigns one.
				AvailableIpAddressCount: pointer(int32(1000)), Tags: ec2Tags(s.Tags),
			})
		}
	}
	return out, nil
}

// zoneID returns the ID of an availability zone in the call's region.
func (c *call) zoneID(name string) string {
	for _, zone := range aws.Zones(c.region) {
		if zone.Name == name {
			return zone.ID
		}
	}
	return ""
}

func (c *call) describeAvailabilityZones(in *ec2.DescribeAvailabilityZonesInput) (*ec2.DescribeAvailabilityZonesOutput, error) {
	if err := c.authorize("ec2:DescribeAvailabilityZones", "*", nil); err != nil {
		return nil, err
	}
	zones, err := selectByID(aws.Zones(c.region), in.ZoneNames, func(z aws.Zone) string { return z.Name }, "InvalidParameterValue")
	if err == nil {
		zones, err = selectByID(zones, in.ZoneIds, func(z aws.Zone) string { return z.ID }, "InvalidParameterValue")
	}
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeAvailabilityZonesOutput{}
	for _, zone := range zones {
		out.AvailabilityZones = append(out.AvailabilityZones, types.AvailabilityZone{
			ZoneName: &zone.Name, ZoneId: &zone.ID, RegionName: &c.region, ZoneType: pointer("availability-zone"),
			State: types.AvailabilityZoneStateAvailable,
		})
	}
	return out, nil
}

func (c *call) describeVPCs(in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	if err := c.authorize("ec2:DescribeVpcs", "*", nil); err != nil {
		return nil, err
	}
	vpcs, err := c.account.VPCs()
	if err == nil {
		vpcs, err = selectByID(vpcs, in.VpcIds, func(v aws.VPC) string { return v.ID }, "InvalidVpcID.NotFound")
	}
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeVpcsOutput{Vpcs: []types.Vpc{}}
	for _, v := range vpcs {
		fits, err := matchesFilters(in.Filters, v.Tags, map[string]string{"vpc-id": v.ID})
		if err != nil {
			return nil, err
		}
		if fits {
			out.Vpcs = append(out.Vpcs, types.Vpc{
				VpcId: &v.ID, CidrBlock: &v.CIDR, State: types.VpcStateAvailable, OwnerId: pointer(aws.AccountID), Tags: ec2Tags(v.Tags),
				CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{
					CidrBlock: &v.CIDR, CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated},
				}},
			})
		}
	}
	return out, nil
}

func (c *call) describeRouteTables(in *ec2.DescribeRouteTablesInput) (*ec2.DescribeRouteTablesOutput, error) {
	if err := c.authorize("ec2:DescribeRouteTables", "*", nil); err != nil {
		return nil, err
	}
	tables, err := c.account.RouteTables()
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeRouteTablesOutput{RouteTables: []types.RouteTable{}}
	for _, t := range tables {
		fits, err := matchesFilters(in.Filters, t.Tags, map[string]string{"vpc-id": t.VPCID})
		if err != nil {
			return nil, err
		}
		if !fits {
			continue
		}
		table := types.RouteTable{RouteTableId: &t.ID, VpcId: &t.VPCID, OwnerId: pointer(aws.AccountID), Tags: ec2Tags(t.Tags)}
		if t.Main {
			table.Associations = append(table.Associations, types.RouteTableAssociation{Main: pointer(true), RouteTableId: &t.ID})
		}
		for _, subnet := range t.SubnetIDs {
			table.Associations = append(table.Associations, types.RouteTableAssociation{Main: pointer(false), RouteTableId: &t.ID, SubnetId: &subnet})
		}
		for _, destination := range keys(t.Gateways) {
			table.Routes = append(table.Routes, types.Route{DestinationCidrBlock: &destination, GatewayId: pointer(t.Gateways[destination])})
		}
		out.RouteTables = append(out.RouteTables, table)
	}
	return out, nil
}

func (c *call) describeSecurityGroups(in *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error) {
	if err := c.authorize("ec2:DescribeSecurityGroups", "*", nil); err != nil {
		return nil, err
	}
	groups, err := c.account.Groups()
	if err == nil {
		groups, err = selectByID(groups, in.GroupIds, func(g aws.Group) string { return g.ID }, "InvalidGroup.NotFound")
	}
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []types.SecurityGroup{}}
	for _, g := range groups {
		fits, err := matchesFilters(in.Filters, g.Tags, map[string]string{"vpc-id": g.VPCID, "group-name": g.Name})
		if err != nil {
			return nil, err
		}
		if fits {
			out.SecurityGroups = append(out.SecurityGroups, types.SecurityGroup{
				GroupId: &g.ID, GroupName: &g.Name, Description: &g.Name, VpcId: &g.VPCID, OwnerId: pointer(aws.AccountID), Tags: ec2Tags(g.Tags),
			})
		}
	}
	return out, nil
}

// createSecurityGroup exists so that it can be denied. No role of the program is allowed to create security groups, and
// all groups come from the program.
func (c *call) createSecurityGroup(in *ec2.CreateSecurityGroupInput) (*ec2.CreateSecurityGroupOutput, error) {
	requested := map[string]string{}
	for _, specification := range in.TagSpecifications {
		for _, tag := range specification.Tags {
			requested[value(tag.Key)] = value(tag.Value)
		}
	}
	for _, resource := range []string{"vpc/" + value(in.VpcId), "security-group/*"} {
		if err := c.authorize("ec2:CreateSecurityGroup", c.arn("ec2", resource), tags(requestTag, requested)); err != nil {
			return nil, err
		}
	}
	return nil, refuse("UnsupportedOperation", "In the rehearsal only the program creates security groups.")
}

func (c *call) describeInstances(in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	if err := c.authorize("ec2:DescribeInstances", "*", nil); err != nil {
		return nil, err
	}
	instances, err := c.account.Instances()
	if err == nil {
		instances, err = selectByID(instances, in.InstanceIds, func(i aws.Instance) string { return i.ID }, "InvalidInstanceID.NotFound")
	}
	out := &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{}}
	for _, i := range instances {
		out.Reservations = append(out.Reservations, types.Reservation{Instances: []types.Instance{{
			InstanceId: &i.ID, VpcId: &i.VPCID, SubnetId: &i.SubnetID, PrivateDnsName: &i.PrivateDNS, PrivateIpAddress: &i.PrivateIP,
			State: &types.InstanceState{Name: types.InstanceStateName(i.State)}, Tags: ec2Tags(i.Tags),
			Placement: &types.Placement{AvailabilityZone: &i.AvailabilityZone},
		}}})
	}
	return out, err
}
