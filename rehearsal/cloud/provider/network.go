package provider

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/store"
)

// ownTags is the input "tags". The output tagsAll has the provider's default tags as well.
var ownTags = textMap()

var vpc = spec{
	title: "EC2 VPC", service: "EC2", calls: calls{"CreateVpc", "ModifyVpcAttribute", "DeleteVpc"},
	affects: aws.Object.ID,
	inputs: inputs{
		"cidrBlock":                        text(required, replaces, valid(networkOfSize(16, 28))),
		"enableDnsHostnames":               flag(computed),
		"enableDnsSupport":                 flag(fallback(true)),
		"enableNetworkAddressUsageMetrics": flag(computed),
		"instanceTenancy":                  text(replaces, fallback("default"), oneOf("default", "dedicated")),
		"tags":                             ownTags,
	},
	outputs: []string{"arn", "defaultNetworkAclId", "defaultRouteTableId", "defaultSecurityGroupId",
		"dhcpOptionsId", "mainRouteTableId", "ownerId"},
	timeout: 20 * time.Minute,
	create: func(c *call) error {
		if err := c.withinCount("vpc", vpcsPerRegion, "VpcLimitExceeded", "VPCs"); err != nil {
			return err
		}
		id := aws.NewID("vpc")
		// AWS creates each VPC with a route table, a security group and an ACL. They are deleted with it and do not
		// block its delete.
		main := aws.NewID("rtb")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "vpc/"+id), "ownerId": aws.AccountID,
			"defaultNetworkAclId": aws.NewID("acl"), "defaultSecurityGroupId": aws.NewID("sg"), "dhcpOptionsId": aws.NewID("dopt"),
			"defaultRouteTableId": main, "mainRouteTableId": main})
		c.obj.SetDefault("enableDnsHostnames", false)
		c.obj.SetDefault("enableNetworkAddressUsageMetrics", false)
		return nil
	},
	remove: func(c *call) error {
		var usedBy []string
		for _, kind := range [][2]string{{"subnet", "subnet"}, {"internetGateway", "internet gateway"},
			{"securityGroup", "security group"}, {"routeTable", "route table"}, {aws.LoadBalancerKind, "load balancer"}} {
			found, err := c.Where(kind[0], "vpcId", c.obj.ID())
			if err != nil {
				return err
			}
			for _, o := range found {
				usedBy = append(usedBy, blocker(kind[0], kind[1], o))
			}
		}
		return aws.Blocked(usedBy, "The vpc '%s' has dependencies and cannot be deleted.", c.obj.ID())
	},
}

var internetGateway = spec{
	title: "EC2 Internet Gateway", service: "EC2", calls: calls{"CreateInternetGateway", "AttachInternetGateway", "DeleteInternetGateway"},
	inputs: inputs{
		"vpcId": text(computed),
		"tags":  ownTags,
	},
	outputs: []string{"arn", "ownerId"},
	timeout: 20 * time.Minute,
	create: func(c *call) error {
		if err := c.withinCount("internetGateway", gatewaysPerRegion, "InternetGatewayLimitExceeded", "internet gateways"); err != nil {
			return err
		}
		id := aws.NewID("igw")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "internet-gateway/"+id), "ownerId": aws.AccountID})
		return c.attachGateway()
	},
	update: func(c *call) error {
		if c.old.Text("vpcId") == c.obj.Text("vpcId") {
			return nil
		}
		if err := c.detachGateway(); err != nil {
			return err
		}
		return c.attachGateway()
	},
	remove: (*call).detachGateway,
}

func (c *call) attachGateway() error {
	network := c.obj.Text("vpcId")
	if network == "" {
		return nil
	}
	attaching := func(code, message string) error {
		return &aws.Error{Code: code, Message: message, Operation: "AttachInternetGateway",
			During: fmt.Sprintf("attaching EC2 Internet Gateway (%s) to EC2 VPC (%s)", c.obj.ID(), network)}
	}
	if found, err := c.Find("vpc", network); err != nil {
		return err
	} else if found == nil {
		return attaching(aws.Absent["vpc"][0], fmt.Sprintf(aws.Absent["vpc"][1], network))
	}
	others, err := c.Where("internetGateway", "vpcId", network)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.ID() != c.obj.ID() {
			return attaching("Resource.AlreadyAssociated", fmt.Sprintf("Network %s already has an internet gateway attached", network))
		}
	}
	return nil
}

// detachGateway fails while the old VPC has public addresses, which are reached through the gateway.
func (c *call) detachGateway() error {
	network := c.old.Text("vpcId")
	if network == "" {
		return nil
	}
	var usedBy []string
	err := store.Each(c.Tx.Tx, aws.PublicIndex, func(ip string, a aws.Address) error {
		if a.VPC == network {
			usedBy = append(usedBy, fmt.Sprintf("instance %s (%s)", a.Instance, ip))
		}
		return nil
	})
	if err != nil {
		return err
	}
	balancers, err := c.Where(aws.LoadBalancerKind, "vpcId", network)
	if err != nil {
		return err
	}
	for _, o := range balancers {
		usedBy = append(usedBy, blocker(aws.LoadBalancerKind, "load balancer", o))
	}
	left, err := c.RemainingInterfaces(func(o aws.Object) bool { return o.Text("vpcId") == network })
	if err != nil {
		return err
	}
	usedBy = append(usedBy, left...)
	if len(usedBy) == 0 {
		return nil
	}
	return &aws.Error{Code: "DependencyViolation", Operation: "DetachInternetGateway", UsedBy: usedBy, Retryable: true,
		During:  fmt.Sprintf("detaching EC2 Internet Gateway (%s) from EC2 VPC (%s)", c.old.ID(), network),
		Message: fmt.Sprintf("Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", network)}
}

var subnet = spec{
	title: "EC2 Subnet", service: "EC2", calls: calls{"CreateSubnet", "ModifySubnetAttribute", "DeleteSubnet"},
	inputs: inputs{
		"vpcId":                                   text(required, replaces),
		"cidrBlock":                               text(required, replaces, valid(networkOfSize(16, 28))),
		"availabilityZone":                        text(computed, replaces),
		"assignIpv6AddressOnCreation":             flag(fallback(false)),
		"enableDns64":                             flag(fallback(false)),
		"enableResourceNameDnsARecordOnLaunch":    flag(fallback(false)),
		"enableResourceNameDnsAaaaRecordOnLaunch": flag(fallback(false)),
		"mapPublicIpOnLaunch":                     flag(fallback(false)),
		"privateDnsHostnameTypeOnLaunch":          text(computed, oneOf("ip-name", "resource-name")),
		"tags":                                    ownTags,
	},
	outputs: []string{"arn", "availabilityZoneId", "ownerId"},
	timeout: 20 * time.Minute,
	create: func(c *call) error {
		network, err := c.Require("vpc", c.obj.Text("vpcId"))
		if err != nil {
			return err
		}
		cidr := netip.MustParsePrefix(c.obj.Text("cidrBlock"))
		if outer := netip.MustParsePrefix(network.Text("cidrBlock")); !outer.Overlaps(cidr) || outer.Bits() > cidr.Bits() {
			return aws.Refuse("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
		}
		siblings, err := c.Where("subnet", "vpcId", network.ID())
		if err != nil {
			return err
		}
		for _, other := range siblings {
			if netip.MustParsePrefix(other.Text("cidrBlock")).Overlaps(cidr) {
				return aws.Refuse("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
			}
		}
		zones := aws.ZonesOf(c.Region)
		c.obj.SetDefault("availabilityZone", zones[0])
		at := slices.Index(zones, c.obj.Text("availabilityZone"))
		if at < 0 {
			return aws.Refuse("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.",
				c.obj.Text("availabilityZone"), strings.Join(zones, ", "))
		}
		id := aws.NewID("subnet")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "subnet/"+id), "ownerId": aws.AccountID,
			"availabilityZoneId": fmt.Sprintf("%s-az%d", aws.ZonePrefix(c.Region), at+1)})
		c.obj.SetDefault("privateDnsHostnameTypeOnLaunch", "ip-name")
		return nil
	},
	remove: func(c *call) error {
		var usedBy []string
		interfaces, err := c.Where(aws.InterfaceKind, "subnetId", c.obj.ID())
		if err != nil {
			return err
		}
		for _, o := range interfaces {
			if instance := o.Text("instance"); instance != "" {
				usedBy = append(usedBy, fmt.Sprintf("instance %s (%s)", instance, o.Text("_name")))
			}
		}
		left, err := c.RemainingInterfaces(func(o aws.Object) bool { return o.Text("subnetId") == c.obj.ID() })
		if err != nil {
			return err
		}
		usedBy = append(usedBy, left...)
		err = store.Each(c.Tx.Tx, aws.LoadBalancerKind, func(_ string, o aws.Object) error {
			if slices.Contains(o.Texts("subnetIds"), c.obj.ID()) {
				usedBy = append(usedBy, blocker(aws.LoadBalancerKind, "load balancer", o))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := aws.Blocked(usedBy, "The subnet '%s' has dependencies and cannot be deleted.", c.obj.ID()); err != nil {
			return err
		}
		return c.DropWhere("routeTableAssociation", "subnetId", c.obj.ID())
	},
}

var routeTable = spec{
	title: "EC2 Route Table", service: "EC2", calls: calls{"CreateRouteTable", "CreateRoute", "DeleteRouteTable"},
	inputs: inputs{
		"vpcId": text(required, replaces),
		"routes": list(inputs{
			"cidrBlock": text(required, valid(isNetwork)),
			"gatewayId": text(required),
		}, computed),
		"tags": ownTags,
	},
	outputs: []string{"arn", "ownerId", "propagatingVgws"},
	timeout: 5 * time.Minute,
	create: func(c *call) error {
		if _, err := c.Require("vpc", c.obj.Text("vpcId")); err != nil {
			return err
		}
		id := aws.NewID("rtb")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "route-table/"+id), "ownerId": aws.AccountID, "propagatingVgws": []string{}})
		c.obj.SetDefault("routes", []any{})
		return c.checkInlineRoutes()
	},
	update: (*call).checkInlineRoutes,
	remove: func(c *call) error {
		associations, err := c.Where("routeTableAssociation", "routeTableId", c.obj.ID())
		if err != nil {
			return err
		}
		var usedBy []string
		for _, o := range associations {
			usedBy = append(usedBy, "subnet "+o.Text("subnetId"))
		}
		if err := aws.Blocked(usedBy, "The routeTable '%s' has dependencies and cannot be deleted.", c.obj.ID()); err != nil {
			return err
		}
		return c.DropWhere("route", "routeTableId", c.obj.ID())
	},
}

func (c *call) checkInlineRoutes() error {
	for _, r := range c.obj.Objects("routes") {
		if err := c.checkGateway(c.obj, r.Text("gatewayId")); err != nil {
			return err
		}
	}
	return nil
}

// checkGateway checks that a gateway is attached to a route table's VPC.
func (c *call) checkGateway(table aws.Object, gatewayID string) error {
	gateway, err := c.Find("internetGateway", gatewayID)
	if err != nil {
		return err
	}
	if gateway == nil {
		return aws.Refuse("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", gatewayID)
	}
	if gateway.Text("vpcId") != table.Text("vpcId") {
		return aws.Refuse("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", table.ID(), gatewayID)
	}
	return nil
}

var route = spec{
	title: "Route", service: "EC2", calls: calls{"CreateRoute", "ReplaceRoute", "DeleteRoute"},
	inputs: inputs{
		"routeTableId":         text(required, replaces),
		"destinationCidrBlock": text(required, replaces, valid(isNetwork)),
		"gatewayId":            text(required),
	},
	outputs: []string{"instanceId", "instanceOwnerId", "networkInterfaceId", "origin", "state"},
	create: func(c *call) error {
		table, err := c.Require("routeTable", c.obj.Text("routeTableId"))
		if err != nil {
			return err
		}
		if err := c.checkGateway(table, c.obj.Text("gatewayId")); err != nil {
			return err
		}
		destination := c.obj.Text("destinationCidrBlock")
		// The provider builds a route's ID from its table and a hash of its destination.
		id := fmt.Sprintf("r-%s%d", table.ID(), crc32.ChecksumIEEE([]byte(destination)))
		other, err := c.Find("route", id)
		if err != nil {
			return err
		}
		inline := slices.ContainsFunc(table.Objects("routes"), func(r aws.Object) bool { return r.Text("cidrBlock") == destination })
		if other != nil || inline {
			return aws.Refuse("RouteAlreadyExists", "The route identified by %s already exists.", destination)
		}
		c.fill(aws.Object{"id": id, "instanceId": "", "instanceOwnerId": "", "networkInterfaceId": "", "origin": "CreateRoute", "state": "active"})
		return nil
	},
	update: func(c *call) error {
		table, err := c.Require("routeTable", c.obj.Text("routeTableId"))
		if err != nil {
			return err
		}
		return c.checkGateway(table, c.obj.Text("gatewayId"))
	},
}

var routeTableAssociation = spec{
	title: "EC2 Route Table Association", service: "EC2",
	calls: calls{"AssociateRouteTable", "ReplaceRouteTableAssociation", "DisassociateRouteTable"},
	inputs: inputs{
		"routeTableId": text(required),
		"subnetId":     text(required, replaces),
	},
	create: func(c *call) error {
		if err := c.checkSameVPC(); err != nil {
			return err
		}
		others, err := c.Where("routeTableAssociation", "subnetId", c.obj.Text("subnetId"))
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return aws.Refuse("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", c.obj.Text("routeTableId"))
		}
		c.fill(aws.Object{"id": aws.NewID("rtbassoc")})
		return nil
	},
	update: (*call).checkSameVPC,
}

func (c *call) checkSameVPC() error {
	table, err := c.Require("routeTable", c.obj.Text("routeTableId"))
	if err != nil {
		return err
	}
	sub, err := c.Require("subnet", c.obj.Text("subnetId"))
	if err != nil {
		return err
	}
	if table.Text("vpcId") != sub.Text("vpcId") {
		return aws.Refuse("InvalidParameterValue", "route table %s and subnet %s belong to different networks", table.ID(), sub.ID())
	}
	return nil
}

// fill sets properties of the object.
func (c *call) fill(o aws.Object) {
	for key, v := range o {
		c.obj[key] = v
	}
}

// blocker describes an object that blocks a delete: a load balancer by its name, everything else by its ID.
func blocker(kind, words string, o aws.Object) string {
	if kind == aws.LoadBalancerKind {
		return words + " " + o.Text("name")
	}
	return o.Described(words)
}

// isNetwork validates an IPv4 CIDR in canonical form.
func isNetwork(s string) string {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is4():
		return fmt.Sprintf("%q is not a valid IPv4 CIDR block", s)
	case p != p.Masked():
		return fmt.Sprintf("%q is not a valid IPv4 CIDR block; did you mean %q?", s, p.Masked())
	}
	return ""
}

func isNetwork6(s string) string {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is6():
		return fmt.Sprintf("%q is not a valid IPv6 CIDR block", s)
	case p != p.Masked():
		return fmt.Sprintf("%q is not a valid IPv6 CIDR block; did you mean %q?", s, p.Masked())
	}
	return ""
}

// networkOfSize validates an IPv4 CIDR with a prefix length between low and high.
func networkOfSize(low, high int) func(string) string {
	return func(s string) string {
		if reason := isNetwork(s); reason != "" {
			return reason
		}
		if bits := netip.MustParsePrefix(s).Bits(); bits < low || bits > high {
			return fmt.Sprintf("expected %q to contain a network value with between %d and %d significant bits, got: %d", s, low, high, bits)
		}
		return ""
	}
}
