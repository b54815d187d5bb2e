package infra

import (
	"fmt"
	"net/netip"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

// deleteTimeout bounds how long a destroy waits until AWS lets it delete a part of the network; after that it fails
// with AWS's reason. AWS releases the network interfaces of a deleted load balancer only after some minutes. It is
// an upper limit: what is free sooner is deleted sooner. The provider's own defaults are 15 to 20 minutes.
const deleteTimeout = "5m"

// network is the VPC with one public subnet per zone. There is no NAT gateway and no private subnet: the security
// group protects the machines, and a NAT gateway would be an additional cost.
//
// Machines depend on all of it, so that the gateway and the routes exist before a machine boots and are deleted after
// it: a gateway cannot be detached while machines with public addresses use it.
type network struct {
	pulumi.ResourceState
	component.Children

	// Outputs
	VPC     *ec2.Vpc
	Subnets []*ec2.Subnet
}

// networkArgs holds the network's inputs.
type networkArgs struct {
	// ClusterName must be the name that the load balancer controller uses for the cluster: it finds the subnets by
	// a tag with this name.
	ClusterName string
	CIDR        netip.Prefix
	Zones       []string
	Protect     bool
	// Certificate is deleted after the subnets, which depend on it for that reason. It is nil without a domain.
	Certificate *certificate
}

// newNetwork declares the network.
func newNetwork(ctx *pulumi.Context, name string, args *networkArgs, opts ...pulumi.ResourceOption) (*network, error) {
	n := &network{}
	if err := component.Register(ctx, "eco2:infra:Network", name, n, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(n)
	boundedDelete := pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: deleteTimeout})

	var err error
	n.VPC, err = ec2.NewVpc(ctx, name, &ec2.VpcArgs{
		CidrBlock:          pulumi.String(args.CIDR.String()),
		EnableDnsHostnames: pulumi.Bool(true),
		EnableDnsSupport:   pulumi.Bool(true),
		Tags: pulumi.StringMap{
			"Name":                       pulumi.String(args.ClusterName),
			clusterTag(args.ClusterName): pulumi.String("shared"),
		},
	}, parent, boundedDelete,
		// Everything else is in the VPC, so protecting it is enough to make the engine refuse a destroy.
		pulumi.Protect(args.Protect))
	if err != nil {
		return nil, fmt.Errorf("creating VPC %s: %w", name, err)
	}

	gateway, err := ec2.NewInternetGateway(ctx, name, &ec2.InternetGatewayArgs{
		VpcId: n.VPC.ID(),
		Tags:  pulumi.StringMap{"Name": pulumi.String(args.ClusterName)},
	}, parent, boundedDelete)
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

	_, err = ec2.NewRoute(ctx, name+"-internet", &ec2.RouteArgs{
		RouteTableId:         routes.ID(),
		DestinationCidrBlock: pulumi.String(everywhere),
		GatewayId:            gateway.ID(),
	}, parent,
		// AWS deletes a route with its table; a separate call would only lengthen the destroy.
		pulumi.DeletedWith(routes))
	if err != nil {
		return nil, fmt.Errorf("creating route to the internet: %w", err)
	}

	var after []pulumi.Resource
	if args.Certificate != nil {
		after = append(after, args.Certificate.Requested)
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
		}, parent, boundedDelete,
			// This makes a destroy delete the certificate after the subnets. A forgotten load balancer blocks both, but
			// only the subnets have a configurable timeout: the provider retries the deletion of a certificate in use
			// for 20 minutes, whatever its options say. The VPC does not depend on the certificate, so the two are
			// created and deleted in parallel.
			component.DependsOn(after...))
		if err != nil {
			return nil, fmt.Errorf("creating subnet %s: %w", zone, err)
		}
		n.Subnets = append(n.Subnets, subnet)

		_, err = ec2.NewRouteTableAssociation(ctx, zone, &ec2.RouteTableAssociationArgs{
			RouteTableId: routes.ID(),
			SubnetId:     subnet.ID(),
		}, parent)
		if err != nil {
			return nil, fmt.Errorf("routing subnet %s: %w", zone, err)
		}
	}

	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"vpcId": n.VPC.ID(), "subnetIds": n.SubnetIDs()})
}

// SubnetIDs returns the ids of the subnets in the order of the zones.
func (n *network) SubnetIDs() pulumi.StringArray {
	var ids pulumi.StringArray
	for _, subnet := range n.Subnets {
		ids = append(ids, subnet.ID())
	}
	return ids
}

// clusterTag returns the tag key that controllers of the named cluster look for. Its value is "owned" on resources
// that belong to the cluster alone and "shared" on others.
func clusterTag(cluster string) string { return "kubernetes.io/cluster/" + cluster }

// subnetCIDR returns the network of a zone's subnet, derived from the zone's letter: of 10.0.0.0/16, zone a has
// 10.0.0.0/20, b 10.0.16.0/20, and p, the last, 10.0.240.0/20. It therefore does not change when other zones are
// added or removed. It fails for zones behind p and for a VPC whose subnets would be smaller than /28.
func subnetCIDR(vpc netip.Prefix, zone string) (netip.Prefix, error) {
	i, bits := letter(zone), vpc.Bits()+config.SubnetBits
	if i < 0 || i >= 1<<config.SubnetBits || bits > 28 {
		return netip.Prefix{}, fmt.Errorf("cutting the subnet of zone %q out of %s: it does not fit", zone, vpc)
	}
	a := vpc.Masked().Addr().As4()
	address := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	address += uint32(i) << (32 - bits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{
		byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address),
	}), bits), nil
}

// letter returns the position of a zone name's last letter in the alphabet, 0 for a, and -1 for an empty name.
func letter(zone string) int {
	if zone == "" {
		return -1
	}
	return int(zone[len(zone)-1]) - 'a'
}
