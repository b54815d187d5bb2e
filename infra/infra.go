// Package infra declares what a stack has in AWS: the network, the one security group, the machines,
// what they may do, and the parameters that others read.
package infra

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// Canonical's account, and the name of its images of Ubuntu 24.04 for gp3 root volumes.
const (
	canonical  = "099720109477"
	ubuntu2404 = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"
)

// GrafanaPassword names the parameter with the password of Grafana's first user.
const GrafanaPassword = "platform/grafana-admin-password"

// Infra is what the layers above need to know.
type Infra struct {
	VPC           *ec2.Vpc
	SubnetIDs     pulumi.StringArray
	SecurityGroup *SecurityGroup
	// Nodes in the order of the table; the first is the control plane.
	Nodes []*Node
	// Granted are the rights that controllers on the nodes wait for.
	Granted []pulumi.Resource
	// CertificateARN is set where the stack has a domain.
	CertificateARN pulumi.StringOutput
	// Parameters are what others read from SSM.
	Parameters *Parameters
	// Made is everything above.
	Made []pulumi.Resource
}

// New declares a stack's infrastructure.
func New(ctx *pulumi.Context, c config.Config) (*Infra, error) {
	provider, err := aws.NewProvider(ctx, "aws", &aws.ProviderArgs{
		Region: pulumi.String(c.Region),
		// Once, here: a tag that a resource repeats shows up in every preview.
		DefaultTags: &aws.ProviderDefaultTagsArgs{Tags: pulumi.StringMap{
			"Project":   pulumi.String(ctx.Project()),
			"Stack":     pulumi.String(ctx.Stack()),
			"ManagedBy": pulumi.String("pulumi"),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("configuring AWS: %w", err)
	}
	with := pulumi.Providers(provider)

	networkArgs := NetworkArgs{ClusterName: c.Name, CIDR: c.VpcCidr, Zones: c.Zones, Protect: c.Protect}
	var certificate *Certificate
	if c.Domain != "" {
		if certificate, err = NewCertificate(ctx, "domain", c.Domain, with); err != nil {
			return nil, err
		}
		networkArgs.Certificate = certificate.Requested
	}
	network, err := NewNetwork(ctx, "network", networkArgs, with)
	if err != nil {
		return nil, err
	}
	group, err := NewSecurityGroup(ctx, "cluster", SecurityGroupArgs{
		ClusterName: c.Name, VPC: network.VPC, Rules: c.InboundRules(),
	}, with)
	if err != nil {
		return nil, err
	}
	role, err := NewNodeRole(ctx, "node", NodeRoleArgs{
		ClusterName: c.Name, Region: c.Region, ParameterPrefix: c.Prefix, HostedZoneID: c.HostedZoneID,
	}, with)
	if err != nil {
		return nil, err
	}
	key, err := ec2.NewKeyPair(ctx, "ssh", &ec2.KeyPairArgs{
		KeyName:   pulumi.String(c.Name),
		PublicKey: pulumi.String(c.SSH.PublicKey),
	}, pulumi.Provider(provider),
		// The name is fixed, so the old pair goes before the new one comes.
		pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, fmt.Errorf("creating key pair %s: %w", c.Name, err)
	}
	ami, err := image(ctx, c.AMI, provider)
	if err != nil {
		return nil, err
	}

	i := &Infra{VPC: network.VPC, SubnetIDs: network.SubnetIDs(), SecurityGroup: group, Granted: role.Granted}
	i.Made = append(i.Made, network, group, role, key)
	for _, spec := range nodeSpecs(c.Nodes) {
		zone := spec.zone(c.Zones, c.Previous.Zones[spec.Name])
		node, err := NewNode(ctx, spec, NodeArgs{
			ClusterName: c.Name, AvailabilityZone: zone, Subnet: network.Subnets[slices.Index(c.Zones, zone)],
			SecurityGroup: group, Profile: role.ProfileName, KeyPair: key, KeyName: c.Name, AMI: ami,
			Routed: network.Routed, Protect: c.Protect,
		}, pulumi.Provider(provider))
		if err != nil {
			return nil, err
		}
		i.Nodes = append(i.Nodes, node)
		i.Made = append(i.Made, node.Made...)
	}

	if certificate != nil {
		if err := certificate.Prove(ctx, c.HostedZoneID, network.Routed); err != nil {
			return nil, err
		}
		i.CertificateARN = certificate.ARN
		i.Made = append(i.Made, certificate)
	}
	i.Parameters, err = NewParameters(ctx, "parameters", c.Prefix, i.parameters(c), with)
	if err != nil {
		return nil, err
	}
	i.Made = append(i.Made, i.Parameters)
	return i, nil
}

// ControlPlane is the machine that runs the control plane.
func (i *Infra) ControlPlane() *Node { return i.Nodes[0] }

// APIEndpoint is the address of the Kubernetes API for people: https://<elastic address>:6443.
func (i *Infra) APIEndpoint() pulumi.StringOutput {
	return pulumi.Sprintf("https://%s:6443", i.ControlPlane().PublicIP)
}

// SubnetList is the subnets' ids, separated by commas.
func (i *Infra) SubnetList() pulumi.StringOutput {
	return i.SubnetIDs.ToStringArrayOutput().ApplyT(joinComma).(pulumi.StringOutput)
}

// image is the AMI that new machines start from. Looking it up cannot change a preview: machines that
// exist ignore it.
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
		return nil, fmt.Errorf("looking up the image of Ubuntu 24.04: %w", err)
	}
	return pulumi.String(found.Id), nil
}

func (i *Infra) parameters(c config.Config) []Parameter {
	parameters := []Parameter{
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
		parameters = append(parameters, Parameter{
			"ingress/acm-certificate-arn", "String", i.CertificateARN, "the workloads' Ingresses, for their certificate",
		})
	}
	return parameters
}
