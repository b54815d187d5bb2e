package aws

import (
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/internal/store"
)

// ownTags is the input "tags". The output tagsAll has the provider's default tags as well.
var ownTags = textMap()

var vpc = spec{
	title: "EC2 VPC", service: "EC2", calls: calls{"CreateVpc", "ModifyVpcAttribute", "DeleteVpc"},
	affects: object.id,
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
		id := newID("vpc")
		// AWS creates each VPC with a route table, a security group and an ACL. They are deleted with it and do not
		// block its delete.
		main := newID("rtb")
		c.fill(object{"id": id, "arn": c.arn("ec2", "vpc/"+id), "ownerId": AccountID,
			"defaultNetworkAclId": newID("acl"), "defaultSecurityGroupId": newID("sg"), "dhcpOptionsId": newID("dopt"),
			"defaultRouteTableId": main, "mainRouteTableId": main})
		c.obj.setDefault("enableDnsHostnames", false)
		c.obj.setDefault("enableNetworkAddressUsageMetrics", false)
		return nil
	},
	remove: func(c *call) error {
		var usedBy []string
		for _, kind := range [][2]string{{"subnet", "subnet"}, {"internetGateway", "internet gateway"},
			{"securityGroup", "security group"}, {"routeTable", "route table"}, {LoadBalancerKind, "load balancer"}} {
			found, err := c.where(kind[0], "vpcId", c.obj.id())
			if err != nil {
				return err
			}
			for _, o := range found {
				usedBy = append(usedBy, blocker(kind[0], kind[1], o))
			}
		}
		return blocked(usedBy, "The vpc '%s' has dependencies and cannot be deleted.", c.obj.id())
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
		id := newID("igw")
		c.fill(object{"id": id, "arn": c.arn("ec2", "internet-gateway/"+id), "ownerId": AccountID})
		return c.attachGateway()
	},
	update: func(c *call) error {
		if c.old.text("vpcId") == c.obj.text("vpcId") {
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
	network := c.obj.text("vpcId")
	if network == "" {
		return nil
	}
	attaching := func(code, message string) error {
		return &apiError{code: code, message: message, operation: "AttachInternetGateway",
			during: fmt.Sprintf("attaching EC2 Internet Gateway (%s) to EC2 VPC (%s)", c.obj.id(), network)}
	}
	if found, err := c.get("vpc", network); err != nil {
		return err
	} else if found == nil {
		return attaching(absent["vpc"][0], fmt.Sprintf(absent["vpc"][1], network))
	}
	others, err := c.where("internetGateway", "vpcId", network)
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.id() != c.obj.id() {
			return attaching("Resource.AlreadyAssociated", fmt.Sprintf("Network %s already has an internet gateway attached", network))
		}
	}
	return nil
}

// detachGateway fails while the old VPC has public addresses, which are reached through the gateway.
func (c *call) detachGateway() error {
	network := c.old.text("vpcId")
	if network == "" {
		return nil
	}
	var usedBy []string
	err := store.Each(c.Tx, publicIndex, func(ip string, a address) error {
		if a.VPC == network {
			usedBy = append(usedBy, fmt.Sprintf("instance %s (%s)", a.Instance, ip))
		}
		return nil
	})
	if err != nil {
		return err
	}
	balancers, err := c.where(LoadBalancerKind, "vpcId", network)
	if err != nil {
		return err
	}
	for _, o := range balancers {
		usedBy = append(usedBy, blocker(LoadBalancerKind, "load balancer", o))
	}
	left, err := c.remainingInterfaces(func(o object) bool { return o.text("vpcId") == network })
	if err != nil {
		return err
	}
	usedBy = append(usedBy, left...)
	if len(usedBy) == 0 {
		return nil
	}
	return &apiError{code: "DependencyViolation", operation: "DetachInternetGateway", usedBy: usedBy, retryable: true,
		during:  fmt.Sprintf("detaching EC2 Internet Gateway (%s) from EC2 VPC (%s)", c.old.id(), network),
		message: fmt.Sprintf("Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", network)}
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
		network, err := c.require("vpc", c.obj.text("vpcId"))
		if err != nil {
			return err
		}
		cidr := netip.MustParsePrefix(c.obj.text("cidrBlock"))
		if outer := netip.MustParsePrefix(network.text("cidrBlock")); !outer.Overlaps(cidr) || outer.Bits() > cidr.Bits() {
			return refuse("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
		}
		siblings, err := c.where("subnet", "vpcId", network.id())
		if err != nil {
			return err
		}
		for _, other := range siblings {
			if netip.MustParsePrefix(other.text("cidrBlock")).Overlaps(cidr) {
				return refuse("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
			}
		}
		zones := zonesOf(c.region)
		c.obj.setDefault("availabilityZone", zones[0])
		at := slices.Index(zones, c.obj.text("availabilityZone"))
		if at < 0 {
			return refuse("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.",
				c.obj.text("availabilityZone"), strings.Join(zones, ", "))
		}
		id := newID("subnet")
		c.fill(object{"id": id, "arn": c.arn("ec2", "subnet/"+id), "ownerId": AccountID,
			"availabilityZoneId": fmt.Sprintf("%s-az%d", zonePrefix(c.region), at+1)})
		c.obj.setDefault("privateDnsHostnameTypeOnLaunch", "ip-name")
		return nil
	},
	remove: func(c *call) error {
		var usedBy []string
		interfaces, err := c.where(interfaceKind, "subnetId", c.obj.id())
		if err != nil {
			return err
		}
		for _, o := range interfaces {
			if instance := o.text("instance"); instance != "" {
				usedBy = append(usedBy, fmt.Sprintf("instance %s (%s)", instance, o.text("_name")))
			}
		}
		left, err := c.remainingInterfaces(func(o object) bool { return o.text("subnetId") == c.obj.id() })
		if err != nil {
			return err
		}
		usedBy = append(usedBy, left...)
		err = store.Each(c.Tx, LoadBalancerKind, func(_ string, o object) error {
			if slices.Contains(o.texts("subnetIds"), c.obj.id()) {
				usedBy = append(usedBy, blocker(LoadBalancerKind, "load balancer", o))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := blocked(usedBy, "The subnet '%s' has dependencies and cannot be deleted.", c.obj.id()); err != nil {
			return err
		}
		return c.dropWhere("routeTableAssociation", "subnetId", c.obj.id())
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
		if _, err := c.require("vpc", c.obj.text("vpcId")); err != nil {
			return err
		}
		id := newID("rtb")
		c.fill(object{"id": id, "arn": c.arn("ec2", "route-table/"+id), "ownerId": AccountID, "propagatingVgws": []string{}})
		c.obj.setDefault("routes", []any{})
		return c.checkInlineRoutes()
	},
	update: (*call).checkInlineRoutes,
	remove: func(c *call) error {
		associations, err := c.where("routeTableAssociation", "routeTableId", c.obj.id())
		if err != nil {
			return err
		}
		var usedBy []string
		for _, o := range associations {
			usedBy = append(usedBy, "subnet "+o.text("subnetId"))
		}
		if err := blocked(usedBy, "The routeTable '%s' has dependencies and cannot be deleted.", c.obj.id()); err != nil {
			return err
		}
		return c.dropWhere("route", "routeTableId", c.obj.id())
	},
}

func (c *call) checkInlineRoutes() error {
	for _, r := range c.obj.objects("routes") {
		if err := c.checkGateway(c.obj, r.text("gatewayId")); err != nil {
			return err
		}
	}
	return nil
}

// checkGateway checks that a gateway is attached to a route table's VPC.
func (c *call) checkGateway(table object, gatewayID string) error {
	gateway, err := c.get("internetGateway", gatewayID)
	if err != nil {
		return err
	}
	if gateway == nil {
		return refuse("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", gatewayID)
	}
	if gateway.text("vpcId") != table.text("vpcId") {
		return refuse("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", table.id(), gatewayID)
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
		table, err := c.require("routeTable", c.obj.text("routeTableId"))
		if err != nil {
			return err
		}
		if err := c.checkGateway(table, c.obj.text("gatewayId")); err != nil {
			return err
		}
		destination := c.obj.text("destinationCidrBlock")
		// The provider builds a route's ID from its table and a hash of its destination.
		id := fmt.Sprintf("r-%s%d", table.id(), crc32.ChecksumIEEE([]byte(destination)))
		other, err := c.get("route", id)
		if err != nil {
			return err
		}
		inline := slices.ContainsFunc(table.objects("routes"), func(r object) bool { return r.text("cidrBlock") == destination })
		if other != nil || inline {
			return refuse("RouteAlreadyExists", "The route identified by %s already exists.", destination)
		}
		c.fill(object{"id": id, "instanceId": "", "instanceOwnerId": "", "networkInterfaceId": "", "origin": "CreateRoute", "state": "active"})
		return nil
	},
	update: func(c *call) error {
		table, err := c.require("routeTable", c.obj.text("routeTableId"))
		if err != nil {
			return err
		}
		return c.checkGateway(table, c.obj.text("gatewayId"))
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
		others, err := c.where("routeTableAssociation", "subnetId", c.obj.text("subnetId"))
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return refuse("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", c.obj.text("routeTableId"))
		}
		c.fill(object{"id": newID("rtbassoc")})
		return nil
	},
	update: (*call).checkSameVPC,
}

func (c *call) checkSameVPC() error {
	table, err := c.require("routeTable", c.obj.text("routeTableId"))
	if err != nil {
		return err
	}
	sub, err := c.require("subnet", c.obj.text("subnetId"))
	if err != nil {
		return err
	}
	if table.text("vpcId") != sub.text("vpcId") {
		return refuse("InvalidParameterValue", "route table %s and subnet %s belong to different networks", table.id(), sub.id())
	}
	return nil
}

// fill sets properties of the object.
func (c *call) fill(o object) {
	for key, v := range o {
		c.obj[key] = v
	}
}

// blocker describes an object that blocks a delete: a load balancer by its name, everything else by its ID.
func blocker(kind, words string, o object) string {
	if kind == LoadBalancerKind {
		return words + " " + o.text("name")
	}
	return o.described(words)
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

// zoneLetters are the availability zones of each commercial region, as a new account sees them. They are listed in "AWS
// regions and availability zones" in AWS's documentation, which says that older accounts may see others.
var zoneLetters = map[string]string{
	"af-south-1": "abc", "ap-east-1": "abc", "ap-east-2": "abc", "ap-northeast-1": "acd", "ap-northeast-2": "abcd",
	"ap-northeast-3": "abc", "ap-south-1": "abc", "ap-south-2": "abc", "ap-southeast-1": "abc", "ap-southeast-2": "abc",
	"ap-southeast-3": "abc", "ap-southeast-4": "abc", "ap-southeast-5": "abc", "ap-southeast-6": "abc",
	"ap-southeast-7": "abc", "ca-central-1": "abd", "ca-west-1": "abc", "eu-central-1": "abc", "eu-central-2": "abc",
	"eu-north-1": "abc", "eu-south-1": "abc", "eu-south-2": "abc", "eu-west-1": "abc", "eu-west-2": "abc",
	"eu-west-3": "abc", "il-central-1": "abc", "me-central-1": "abc", "me-south-1": "abc", "mx-central-1": "abc",
	"sa-east-1": "abc", "us-east-1": "abcdef", "us-east-2": "abc", "us-west-1": "ac", "us-west-2": "abcd",
}

// zonesOf lists the availability zones of a region.
func zonesOf(region string) (zones []string) {
	for _, l := range zoneLetters[region] {
		zones = append(zones, region+string(l))
	}
	return zones
}

// Zone is an availability zone: its name in this account, and its ID, which is the same in all accounts.
type Zone struct{ Name, ID string }

// Zones lists the availability zones of a region.
func Zones(region string) (zones []Zone) {
	for i, name := range zonesOf(region) {
		zones = append(zones, Zone{name, fmt.Sprintf("%s-az%d", zonePrefix(region), i+1)})
	}
	return zones
}

// zonePrefix abbreviates a region as zone IDs do: eu-central-1 is euc1, ap-southeast-2 is apse2.
func zonePrefix(region string) string {
	parts := strings.Split(region, "-")
	if len(parts) != 3 {
		return strings.ReplaceAll(region, "-", "")
	}
	middle := parts[1][:1]
	for _, second := range []string{"east", "west"} {
		if rest, ok := strings.CutSuffix(parts[1], second); ok && rest != "" {
			middle = rest[:1] + second[:1]
		}
	}
	return parts[0] + middle + parts[2]
}
