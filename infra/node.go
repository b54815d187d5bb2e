package infra

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Node is one machine of the cluster: an instance and, for the control plane, an address that stays.
type Node struct {
	NodeSpec
	AvailabilityZone string

	// Outputs
	Instance  *ec2.Instance
	PrivateIP pulumi.StringOutput
	// PublicIP is where SSH reaches the machine. A worker's changes when it is stopped and started.
	PublicIP pulumi.StringOutput
	// Made is the machine and what belongs to it.
	Made []pulumi.Resource
}

// NodeArgs are a node's inputs.
type NodeArgs struct {
	ClusterName      string
	AvailabilityZone string
	Subnet           *ec2.Subnet
	SecurityGroup    *SecurityGroup
	Profile          pulumi.StringInput
	// KeyName is KeyPair's, as text. An output of the pair would be unknown while that is replaced, and the
	// engine would replace every machine for a new key, which reaches none of them that way: a machine
	// takes its key at its first boot. docs/operations.md says how to rotate it.
	KeyName string
	KeyPair pulumi.Resource
	AMI     pulumi.StringInput
	// Routed is the network's: see Network.
	Routed  []pulumi.Resource
	Protect bool
}

// NewNode declares the machine that spec describes.
func NewNode(ctx *pulumi.Context, spec NodeSpec, args NodeArgs, opts ...pulumi.ResourceOption) (*Node, error) {
	n := &Node{NodeSpec: spec, AvailabilityZone: args.AvailabilityZone}
	// In the state of an older program these are below a component of the node's name.
	wasBelow := pulumi.CreateURN(pulumi.String(spec.Name), pulumi.String("eco2:infra:Node"), nil, pulumi.String(ctx.Project()), pulumi.String(ctx.Stack()))
	opts = append(opts, pulumi.Aliases([]pulumi.Alias{{ParentURN: wasBelow}}))
	with := func(own ...pulumi.ResourceOption) []pulumi.ResourceOption { return slices.Concat(opts, own) }

	role := "worker"
	if spec.ControlPlane() {
		role = "control-plane"
	}
	tags := pulumi.StringMap{
		"Name": pulumi.String(args.ClusterName + "-" + spec.Name),
		"Role": pulumi.String(role),
		// Without it the driver may not attach volumes here: see ebsPolicy.
		volumeClusterTag: pulumi.String(args.ClusterName),
	}
	for key, value := range spec.Tags {
		tags[key] = pulumi.String(value)
	}
	protect := pulumi.Protect(args.Protect && spec.ControlPlane())

	var err error
	n.Instance, err = ec2.NewInstance(ctx, spec.Name, &ec2.InstanceArgs{
		Ami:                 args.AMI,
		InstanceType:        pulumi.String(spec.InstanceType),
		SubnetId:            args.Subnet.ID(),
		VpcSecurityGroupIds: pulumi.StringArray{args.SecurityGroup.Group.ID()},
		IamInstanceProfile:  args.Profile,
		KeyName:             pulumi.String(args.KeyName),
		UserData:            pulumi.String(userData(spec.Name)),
		MetadataOptions: &ec2.InstanceMetadataOptionsArgs{
			HttpEndpoint: pulumi.String("enabled"),
			HttpTokens:   pulumi.String("required"),
			// Two: a controller's pod is one routed hop away from the machine. A NetworkPolicy says which may.
			HttpPutResponseHopLimit: pulumi.Int(2),
		},
		RootBlockDevice: &ec2.InstanceRootBlockDeviceArgs{
			VolumeType:          pulumi.String("gp3"),
			VolumeSize:          pulumi.Int(spec.DiskGB),
			Encrypted:           pulumi.Bool(true),
			DeleteOnTermination: pulumi.Bool(true),
			Tags:                pulumi.StringMap{"Name": pulumi.String(args.ClusterName + "-" + spec.Name + "-root")},
		},
		Tags: tags,
	}, with(protect,
		// A newer image or another first-boot text must never replace a running node: machines change
		// their image when somebody replaces them on purpose.
		pulumi.IgnoreChanges([]string{"ami", "userData"}),
		// A node's name is unique in the cluster: the old machine leaves before the new one joins.
		pulumi.DeleteBeforeReplace(true),
		// The first boot downloads packages, and the last packets of a machine need the gateway.
		pulumi.DependsOn(append([]pulumi.Resource{args.KeyPair}, args.Routed...)),
		// AWS starts a t3 in well under a minute; ten are a fault worth reporting.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "10m", Update: "10m", Delete: "10m"}))...)
	if err != nil {
		return nil, fmt.Errorf("creating instance %s: %w", spec.Name, err)
	}
	n.PrivateIP, n.PublicIP = n.Instance.PrivateIp, n.Instance.PublicIp
	n.Made = append(n.Made, n.Instance)

	if spec.ControlPlane() {
		address, err := ec2.NewEip(ctx, spec.Name, &ec2.EipArgs{
			Domain: pulumi.String("vpc"),
			Tags:   pulumi.StringMap{"Name": pulumi.String(args.ClusterName + "-" + spec.Name)},
		}, with(pulumi.DependsOn(args.Routed), protect)...)
		if err != nil {
			return nil, fmt.Errorf("creating address of %s: %w", spec.Name, err)
		}
		association, err := ec2.NewEipAssociation(ctx, spec.Name, &ec2.EipAssociationArgs{
			AllocationId: address.ID(),
			InstanceId:   n.Instance.ID(),
		}, with()...) // no DeletedWith: AWS keeps an address that is still associated
		if err != nil {
			return nil, fmt.Errorf("associating the address of %s: %w", spec.Name, err)
		}
		// From the association, so that nobody dials the address before it leads to the machine.
		n.PublicIP = association.PublicIp
		n.Made = append(n.Made, address, association)
	}
	return n, nil
}

// ProviderID is what the load balancer and volume controllers find the instance by.
func (n *Node) ProviderID() pulumi.StringOutput {
	return pulumi.Sprintf("aws:///%s/%s", n.AvailabilityZone, n.Instance.ID())
}

// userData is cloud-init's part: who the machine is. All else is done over SSH, where it can be seen,
// repeated and changed without a new machine.
func userData(name string) string {
	return fmt.Sprintf("#cloud-config\nhostname: %s\nmanage_etc_hosts: true\nssh_pwauth: false\n", name)
}
