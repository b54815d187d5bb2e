package infra

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// deleteTimeout bounds how long a destroy waits for AWS to release a part of the network before it fails with AWS's
// reason. AWS releases a deleted load balancer's interfaces up to some minutes later; what is free sooner is deleted
// sooner. The provider's own defaults are 15 to 20 minutes.
const deleteTimeout = "5m"

// Network is the VPC with one public subnet in each zone. There is no NAT gateway and no private subnet:
// the security group keeps the machines closed, and a gateway would cost more than they do.
type Network struct {
	pulumi.ResourceState

	// Outputs
	VPC     *ec2.Vpc
	Subnets []*ec2.Subnet
	// Routed is what a machine waits for that needs the internet, and outlives it on destroy: a gateway
	// with public addresses behind it cannot be detached.
	Routed []pulumi.Resource
}

// NetworkArgs are the network's inputs.
type NetworkArgs struct {
	// ClusterName is what the load balancer controller calls the cluster; its tag must say the same.
	ClusterName string
	CIDR        netip.Prefix
	Zones       []string
	Protect     bool
	// Certificate is deleted after the subnets: see where they depend on it. Nil without a domain.
	Certificate pulumi.Resource
}

// NewNetwork declares the network.
func NewNetwork(ctx *pulumi.Context, name string, args NetworkArgs, opts ...pulumi.ResourceOption) (*Network, error) {
	n := &Network{}
	if err := ctx.RegisterComponentResource("eco2:infra:Network", name, n, opts...); err != nil {
		return nil, fmt.Errorf("registering network %s: %w", name, err)
	}
	parent := pulumi.Parent(n)
	deleteSoon := pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: deleteTimeout}) // see deleteTimeout

	var err error
	n.VPC, err = ec2.NewVpc(ctx, name, &ec2.VpcArgs{
		CidrBlock:          pulumi.String(args.CIDR.String()),
		EnableDnsHostnames: pulumi.Bool(true),
		EnableDnsSupport:   pulumi.Bool(true),
		Tags: pulumi.StringMap{
			"Name":                       pulumi.String(args.ClusterName),
			clusterTag(args.ClusterName): pulumi.String("shared"),
		},
	}, parent, deleteSoon,
		// Everything else stands in the VPC: protecting it is what makes the engine refuse a destroy.
		pulumi.Protect(args.Protect))
	if err != nil {
		return nil, fmt.Errorf("creating VPC %s: %w", name, err)
	}

	gateway, err := ec2.NewInternetGateway(ctx, name, &ec2.InternetGatewayArgs{
		VpcId: n.VPC.ID(),
		Tags:  pulumi.StringMap{"Name": pulumi.String(args.ClusterName)},
	}, parent, deleteSoon)
	if err != nil {
		return nil, fmt.Errorf("creating internet gateway %s: %w", name, err)
	}

	routes, err := ec2.NewRouteTable(ctx, name, &ec2.RouteTableArgs{
		VpcId: n.VPC.ID(),
		Tags:  pulumi.StringMap{"Name": pulumi.String(args.ClusterName)},
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("creating route table %s: %w", name, err)
	}

	internet, err := ec2.NewRoute(ctx, name+"-internet", &ec2.RouteArgs{
		RouteTableId:         routes.ID(),
		DestinationCidrBlock: pulumi.String(everywhere),
		GatewayId:            gateway.ID(),
	}, parent,
		// A route goes with its table; a call of its own would only lengthen the destroy.
		pulumi.DeletedWith(routes))
	if err != nil {
		return nil, fmt.Errorf("creating route to the internet: %w", err)
	}
	n.Routed = append(n.Routed, gateway, internet)

	var certificate []pulumi.Resource
	if args.Certificate != nil {
		certificate = append(certificate, args.Certificate)
	}
	for _, zone := range args.Zones {
		cidr, err := subnetCIDR(args.CIDR, zone)
		if err != nil {
			return nil, err
		}
		subnet, err := ec2.NewSubnet(ctx, zone, &ec2.SubnetArgs{
			VpcId:               n.VPC.ID(),
			AvailabilityZone:    pulumi.String(zone),
			CidrBlock:           pulumi.String(cidr.String()),
			MapPublicIpOnLaunch: pulumi.Bool(true),
			Tags: pulumi.StringMap{
				"Name":                       pulumi.String(args.ClusterName + "-" + zone),
				clusterTag(args.ClusterName): pulumi.String("shared"),
				// The load balancer controller puts internet-facing load balancers into subnets with this tag.
				"kubernetes.io/role/elb": pulumi.String("1"),
			},
		}, parent, deleteSoon,
			// A destroy deletes the certificate after the subnets. A forgotten load balancer blocks both, but only the
			// subnets have a timeout to set: for a certificate in use the provider retries 20 minutes, whatever its
			// options say. The VPC does not depend on it: they are made, and deleted, side by side.
			pulumi.DependsOn(certificate))
		if err != nil {
			return nil, fmt.Errorf("creating subnet %s: %w", zone, err)
		}
		n.Subnets = append(n.Subnets, subnet)

		association, err := ec2.NewRouteTableAssociation(ctx, zone, &ec2.RouteTableAssociationArgs{
			RouteTableId: routes.ID(),
			SubnetId:     subnet.ID(),
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("routing subnet %s: %w", zone, err)
		}
		n.Routed = append(n.Routed, association)
	}

	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"vpcId": n.VPC.ID(), "subnetIds": n.SubnetIDs()})
}

// SubnetIDs are the ids of the subnets in the order of the zones.
func (n *Network) SubnetIDs() pulumi.StringArray {
	var ids pulumi.StringArray
	for _, subnet := range n.Subnets {
		ids = append(ids, subnet.ID())
	}
	return ids
}

// clusterTag marks what a cluster of this name may use. "shared", because the cluster does not own it.
func clusterTag(cluster string) string { return "kubernetes.io/cluster/" + cluster }

// subnetCIDR is the network of a zone's subnet, by the zone's letter: of 10.0.0.0/16, zone a has 10.0.0.0/20,
// b 10.0.16.0/20, and p, the last, 10.0.240.0/20. So it does not change when other zones come or go.
func subnetCIDR(vpc netip.Prefix, zone string) (netip.Prefix, error) {
	i, bits := letter(zone), vpc.Bits()+config.SubnetBits
	if i < 0 || i >= 1<<config.SubnetBits || bits > 28 {
		return netip.Prefix{}, fmt.Errorf("cutting the subnet of zone %q out of %s: it does not fit", zone, vpc)
	}
	a := vpc.Masked().Addr().As4()
	network := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	network += uint32(i) << (32 - bits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{
		byte(network >> 24), byte(network >> 16), byte(network >> 8), byte(network),
	}), bits), nil
}

// letter is the place of a zone's last letter in the alphabet, 0 for a; -1 for the empty name.
func letter(zone string) int {
	if zone == "" {
		return -1
	}
	return int(zone[len(zone)-1]) - 'a'
}
