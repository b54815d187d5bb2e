package infra

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ebs"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

// hostKeyTag is the tag with the public SSH host key that a machine got at its first boot.
const hostKeyTag = "SSHHostKey"

// Node is one machine of the cluster: an EC2 instance and, for the control plane, an elastic IP address and the disk with
// the cluster's state.
type Node struct {
	NodeSpec
	AvailabilityZone string

	// Outputs
	Instance  *ec2.Instance
	PrivateIP pulumi.StringOutput
	// PublicIP is the address for SSH. A worker's changes when it is stopped and started.
	PublicIP pulumi.StringOutput
	// HostKey is the machine's public SSH host key in the format of authorized_keys. It is empty for a machine that an
	// earlier version of the program created, which made its own key.
	HostKey pulumi.StringOutput
	// State is the disk with the cluster's state, and StateVolume its attachment. Only the control plane has them.
	State       *ebs.Volume
	StateVolume *ec2.VolumeAttachment
}

// nodeArgs holds a node's inputs.
type nodeArgs struct {
	Spec             NodeSpec
	ClusterName      string
	AvailabilityZone string
	Subnet           *ec2.Subnet
	SecurityGroup    *SecurityGroup
	Profile          pulumi.StringInput
	// KeyName is the name of KeyPair as plain text. While the pair is replaced its outputs are unknown, so with an
	// output the engine would replace every machine for a new key. A machine reads its key only at its first boot;
	// docs/operations.md describes how to rotate the key.
	KeyName string
	KeyPair pulumi.Resource
	// HostKey is the SSH host key of a new machine.
	HostKey config.HostKey
	AMI     pulumi.StringInput
	Network *network
	// PrivateIP is the machine's address in the subnet. If it is empty, AWS chooses one.
	PrivateIP string
	// Reservation keeps PrivateIP of the control plane from being given to other machines of the subnet. It is nil for
	// machines in other subnets.
	Reservation *ec2.SubnetCidrReservation
	// RestoreFrom is the snapshot of which the disk with the cluster's state is made, or empty. Restores is true in the
	// update that goes back to it.
	RestoreFrom string
	Restores    bool
	Protect     bool
}

// newNode declares a machine. It is no component, because a worker is a single resource.
func newNode(ctx *pulumi.Context, name string, args *nodeArgs, opts ...pulumi.ResourceOption) (*Node, error) {
	spec := args.Spec
	n := &Node{NodeSpec: spec, AvailabilityZone: args.AvailabilityZone}
	// Earlier versions of the program had a component with the node's name as the parent of these resources.
	formerParent := pulumi.CreateURN(pulumi.String(name), pulumi.String("eco2:infra:Node"), nil, pulumi.String(ctx.Project()), pulumi.String(ctx.Stack()))
	opts = append(opts, pulumi.Aliases([]pulumi.Alias{{ParentURN: formerParent}}))
	options := func(more ...pulumi.ResourceOption) []pulumi.ResourceOption { return slices.Concat(opts, more) }

	// The hop limit is how far the metadata service's tokens reach. A pod is one routed hop away from its machine, so on
	// a worker only processes and pods on the host's network get one. On the control plane pods get one as well, because
	// the controllers need its IAM role.
	role, hopLimit := "worker", 1
	if spec.ControlPlane() {
		role, hopLimit = "control-plane", 2
	}
	tags := pulumi.StringMap{
		"Name": pulumi.String(args.ClusterName + "-" + spec.Name),
		"Role": pulumi.String(role),
		// Without this tag the EBS CSI driver may not attach volumes to the machine: see ebsPolicy.
		volumeClusterTag: pulumi.String(args.ClusterName),
		hostKeyTag:       pulumi.String(args.HostKey.Public),
	}
	for key, value := range spec.Tags {
		tags[key] = pulumi.String(value)
	}
	var privateIP pulumi.StringPtrInput
	if args.PrivateIP != "" {
		privateIP = pulumi.String(args.PrivateIP)
	}
	// The first boot downloads packages, and a machine that shuts down still needs the gateway.
	first := []pulumi.Resource{args.KeyPair, args.Network}
	if args.Reservation != nil {
		first = append(first, args.Reservation)
	}

	var err error
	var withState []pulumi.ResourceOption
	if spec.ControlPlane() {
		n.State, err = newStateVolume(ctx, name+"-state", &stateVolumeArgs{
			ClusterName: args.ClusterName, AvailabilityZone: args.AvailabilityZone, SnapshotID: args.RestoreFrom,
			// The setting says that the disk is to be replaced.
			Protect: args.Protect && !args.Restores,
		}, opts...)
		if err != nil {
			return nil, err
		}
		withState = append(withState,
			// The old machine must not run on with an etcd whose disk is gone. A volume can only be detached once nothing
			// uses it, and its machine was set up for this volume.
			pulumi.ReplaceWith([]pulumi.Resource{n.State}),
			// An update that was interrupted after it had replaced the volume replaces the machine the next time.
			pulumi.ReplacementTrigger(pulumi.String(args.RestoreFrom)))
	}
	n.Instance, err = ec2.NewInstance(ctx, name, &ec2.InstanceArgs{
		Ami:                 args.AMI,
		InstanceType:        pulumi.String(spec.InstanceType),
		SubnetId:            args.Subnet.ID(),
		PrivateIp:           privateIP,
		VpcSecurityGroupIds: pulumi.StringArray{args.SecurityGroup.Group.ID()},
		IamInstanceProfile:  args.Profile,
		KeyName:             pulumi.String(args.KeyName),
		UserData:            userData(spec.Name, args.HostKey),
		MetadataOptions: &ec2.InstanceMetadataOptionsArgs{
			HttpEndpoint:            pulumi.String("enabled"),
			HttpTokens:              pulumi.String("required"),
			HttpPutResponseHopLimit: pulumi.Int(hopLimit),
		},
		RootBlockDevice: &ec2.InstanceRootBlockDeviceArgs{
			VolumeType:          pulumi.String("gp3"),
			VolumeSize:          pulumi.Int(spec.DiskGB),
			Encrypted:           pulumi.Bool(true),
			DeleteOnTermination: pulumi.Bool(true),
			Tags:                pulumi.StringMap{"Name": pulumi.String(args.ClusterName + "-" + spec.Name + "-root")},
		},
		Tags: tags,
	}, options(append(withState,
		// A newer image or a changed first-boot configuration must never replace a running node: a machine gets a new
		// image only when somebody replaces it on purpose. The tag says which host key the machine got at its first boot,
		// and not which one a machine that is created now would get: the SSH key from which host keys are derived may have
		// been rotated since, and earlier versions of the program gave none.
		pulumi.IgnoreChanges([]string{"ami", "userData", "tags." + hostKeyTag}),
		// It contains the machine's private host key.
		pulumi.AdditionalSecretOutputs([]string{"userData"}),
		// Node names are unique in the cluster, so the old machine must leave before the new one joins.
		pulumi.DeleteBeforeReplace(true),
		component.DependsOn(first...),
		// AWS starts a t3 in well under a minute; if it takes ten, something is wrong.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "10m", Update: "10m", Delete: "10m"}))...)...)
	if err != nil {
		return nil, fmt.Errorf("creating instance %s: %w", spec.Name, err)
	}
	n.PrivateIP, n.PublicIP = n.Instance.PrivateIp, n.Instance.PublicIp
	n.HostKey = n.Instance.Tags.MapIndex(pulumi.String(hostKeyTag))

	if spec.ControlPlane() {
		address, err := ec2.NewEip(ctx, name, &ec2.EipArgs{
			Domain: pulumi.String("vpc"),
			Tags:   pulumi.StringMap{"Name": pulumi.String(args.ClusterName + "-" + spec.Name)},
		}, options(component.DependsOn(args.Network),
			// The kubeconfig and what people have noted down name this address.
			pulumi.Protect(args.Protect))...)
		if err != nil {
			return nil, fmt.Errorf("creating the elastic address of %s: %w", spec.Name, err)
		}
		association, err := ec2.NewEipAssociation(ctx, name, &ec2.EipAssociationArgs{
			AllocationId: address.ID(),
			InstanceId:   n.Instance.ID(),
		}, options()...) // without DeletedWith: AWS does not release an address that is still associated
		if err != nil {
			return nil, fmt.Errorf("associating the elastic address of %s: %w", spec.Name, err)
		}
		// Taken from the association, so that nothing connects before the address routes to the machine.
		n.PublicIP = association.PublicIp
		n.StateVolume, err = attachStateVolume(ctx, name+"-state", n.State, n.Instance, opts...)
		if err != nil {
			return nil, err
		}
	}
	return n, nil
}

// ProviderID returns the node's providerID in Kubernetes, by which the load balancer and volume controllers find the
// instance.
func (n *Node) ProviderID() pulumi.StringOutput {
	return pulumi.Sprintf("aws:///%s/%s", n.AvailabilityZone, n.Instance.ID())
}
