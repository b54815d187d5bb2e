// Package infra declares a stack's AWS resources: the network, the one security group, the machines, their
// IAM role, and the SSM parameters that workloads and people read.
package infra

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ebs"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
)

const (
	// canonical is the AWS account of Canonical, which publishes the Ubuntu images.
	canonical = "099720109477"
	// ubuntu2404 matches the names of Canonical's Ubuntu 24.04 images for gp3 root volumes.
	ubuntu2404 = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
)

// GrafanaPassword is the name of the SSM parameter that holds the password of Grafana's first user.
const GrafanaPassword = "platform/grafana-admin-password"

// Infra is a stack's AWS resources.
type Infra struct {
	pulumi.ResourceState
	component.Children

	// Outputs
	VPC           *ec2.Vpc
	SubnetIDs     pulumi.StringArray
	SecurityGroup *SecurityGroup
	// Nodes holds the machines in the order of nodeTable; the first is the control plane.
	Nodes []*Node
	// CertificateARN is the ARN of the issued certificate. It is set only if the stack has a domain.
	CertificateARN pulumi.StringOutput
	Parameters     *Parameters
	// UpgradeSnapshot is the snapshot of the cluster's state from before the last upgrade of Kubernetes. The upgrade must
	// depend on it. It is nil if there is none.
	UpgradeSnapshot *ebs.Snapshot
}

// Args holds the inputs of Infra.
type Args struct {
	Config config.Config
}

// New declares a stack's infrastructure.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Infra, error) {
	c := args.Config
	provider, err := aws.NewProvider(ctx, "aws", &aws.ProviderArgs{
		Region: pulumi.String(c.Region),
		// Set only here: a default tag that a resource repeats shows up as a change in every preview.
		DefaultTags: &aws.ProviderDefaultTagsArgs{Tags: pulumi.StringMap{
			"Project":   pulumi.String(ctx.Project()),
			"Stack":     pulumi.String(ctx.Stack()),
			"ManagedBy": pulumi.String("pulumi"),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring AWS: %w", err)
	}
	i := &Infra{}
	if err := component.Register(ctx, "eco2:infra:Infra", name, i, append(opts, pulumi.Providers(provider))...); err != nil {
		return nil, err
	}
	child := component.Child(i)

	var cert *certificate
	if c.Domain != "" {
		cert, err = newCertificate(ctx, "domain", &certificateArgs{Domain: c.Domain, HostedZoneID: c.HostedZoneID}, child)
		if err != nil {
			return nil, err
		}
	}
	network, err := newNetwork(ctx, "network", &networkArgs{
		ClusterName: c.Name, CIDR: c.VpcCidr, Zones: c.Zones, Protect: c.Protect, Certificate: cert,
	}, child)
	if err != nil {
		return nil, err
	}
	group, err := newSecurityGroup(ctx, "cluster", &securityGroupArgs{
		ClusterName: c.Name, VPC: network.VPC, Rules: c.InboundRules(),
	}, child)
	if err != nil {
		return nil, err
	}
	controlPlaneRole, err := newControlPlaneRole(ctx, "control-plane", &controlPlaneRoleArgs{
		ClusterName: c.Name, Region: c.Region, ParameterPrefix: c.ParameterPrefix,
		Domain: c.Domain, HostedZoneID: c.HostedZoneID,
	}, child)
	if err != nil {
		return nil, err
	}
	workerRole, err := newWorkerRole(ctx, "worker", &workerRoleArgs{ClusterName: c.Name}, child)
	if err != nil {
		return nil, err
	}
	key, err := ec2.NewKeyPair(ctx, "ssh", &ec2.KeyPairArgs{
		KeyName:   pulumi.String(c.Name),
		PublicKey: pulumi.String(c.SSH.PublicKey),
	}, child,
		// The name is fixed, so the old pair must be deleted before the new one is created.
		pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, fmt.Errorf("creating key pair %s: %w", c.Name, err)
	}
	ami, err := image(ctx, c.AMI, provider)
	if err != nil {
		return nil, err
	}

	i.VPC, i.SubnetIDs, i.SecurityGroup = network.VPC, network.SubnetIDs(), group
	specs := nodeSpecs(c.Nodes)
	controlPlaneZone := specs[0].zone(c.Zones, c.Previous.Zones[specs[0].Name])
	address, reservation, err := reserveControlPlaneAddress(ctx, c, network, controlPlaneZone, child)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		zone := spec.zone(c.Zones, c.Previous.Zones[spec.Name])
		role, privateIP := workerRole, ""
		if spec.ControlPlane() {
			role, privateIP = controlPlaneRole, address
		}
		var sameSubnet *ec2.SubnetCidrReservation
		if zone == controlPlaneZone {
			sameSubnet = reservation
		}
		hostKey, err := c.SSH.HostKey(c.Name, spec.Name)
		if err != nil {
			return nil, err
		}
		node, err := newNode(ctx, spec.Name, &nodeArgs{
			Spec: spec, ClusterName: c.Name, AvailabilityZone: zone, Subnet: network.Subnets[slices.Index(c.Zones, zone)],
			SecurityGroup: group, Profile: role.ProfileName, KeyPair: key, KeyName: c.Name, HostKey: hostKey, AMI: ami,
			Network: network, PrivateIP: privateIP, Reservation: sameSubnet,
			RestoreFrom: c.RestoreFrom, Restores: c.Restores(), Protect: c.Protect,
		}, child)
		if err != nil {
			return nil, err
		}
		i.Nodes = append(i.Nodes, node)
	}

	if c.Backup.On() {
		if _, err := newBackup(ctx, "backup", &backupArgs{ClusterName: c.Name, Region: c.Region, Backup: c.Backup}, child); err != nil {
			return nil, err
		}
	}
	if version := c.SnapshotBefore(); version != "" {
		i.UpgradeSnapshot, err = newUpgradeSnapshot(ctx, c.Name, version, i.ControlPlane().State, child)
		if err != nil {
			return nil, err
		}
	}
	if cert != nil {
		if err := cert.validate(ctx, network); err != nil {
			return nil, err
		}
		i.CertificateARN = cert.ARN
	}
	i.Parameters, err = newParameters(ctx, "parameters", &parametersArgs{
		Prefix: c.ParameterPrefix, Parameters: i.parameters(c),
	}, child)
	if err != nil {
		return nil, err
	}
	return i, ctx.RegisterResourceOutputs(i, pulumi.Map{})
}

// ControlPlane returns the machine that runs the control plane.
func (i *Infra) ControlPlane() *Node { return i.Nodes[0] }

// APIEndpoint returns the public URL of the Kubernetes API: https://<elastic address>:6443.
func (i *Infra) APIEndpoint() pulumi.StringOutput {
	return pulumi.Sprintf("https://%s:6443", i.ControlPlane().PublicIP)
}

// SubnetList returns the subnet ids, separated by commas.
func (i *Infra) SubnetList() pulumi.StringOutput {
	return i.SubnetIDs.ToStringArrayOutput().ApplyT(joinComma).(pulumi.StringOutput)
}

// image returns the AMI for new machines: the configured one or, if pinned is empty, the newest Ubuntu 24.04. A
// newer image causes no change in a preview, because existing machines ignore changes of their AMI.
func image(ctx *pulumi.Context, pinned string, provider pulumi.ProviderResource) (pulumi.StringInput, error) {
	if pinned != "" {
		return pulumi.String(pinned), nil
	}
	newest := true
	found, err := ec2.LookupAmi(ctx, &ec2.LookupAmiArgs{
		Owners:     []string{canonical},
		MostRecent: &newest,
		Filters: []ec2.GetAmiFilter{
			{Name: "name", Values: []string{ubuntu2404}},
			{Name: "virtualization-type", Values: []string{"hvm"}},
		},
	}, pulumi.Provider(provider))
	if err != nil {
		return nil, fmt.Errorf("looking up the Ubuntu 24.04 image: %w", err)
	}
	return pulumi.String(found.Id), nil
}

func (i *Infra) parameters(c config.Config) []parameter {
	parameters := []parameter{
		{"network/vpc-id", "String", i.VPC.ID(), "the workloads' ExternalSecrets that configure AWS clients"},
		{"network/public-subnets", "StringList", i.SubnetList(), "the workloads' Ingresses that choose their subnets"},
		{"network/cluster-sg-id", "String", i.SecurityGroup.Group.ID(), "the workloads' Ingresses, which must name this security group"},
		{"cluster/region", "String", pulumi.String(c.Region), "the workloads' ExternalSecrets that configure AWS clients"},
		{"cluster/api-endpoint", "String", i.APIEndpoint(), "pipelines outside the cluster that call the Kubernetes API"},
		{"data/postgres-password", "SecureString", c.Passwords.Postgres, "ExternalSecret postgres/postgresql-secret"},
		{"data/redis-password", "SecureString", c.Passwords.Redis, "ExternalSecret redis/redis-secret"},
		{"data/rabbitmq-password", "SecureString", c.Passwords.RabbitMQ, "ExternalSecret rabbitmq/rabbitmq-default-user"},
		{GrafanaPassword, "SecureString", c.Passwords.Grafana, "ExternalSecret monitoring/grafana-admin"},
	}
	if c.Domain != "" {
		parameters = append(parameters, parameter{
			"ingress/acm-certificate-arn", "String", i.CertificateARN, "the workloads' Ingresses, for their certificate",
		})
	}
	return parameters
}
