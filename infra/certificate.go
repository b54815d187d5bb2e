package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/acm"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// certificate is the load balancer's TLS certificate for the domain and its subdomains, validated by a DNS
// record. external-dns creates the load balancer's own records, because only it knows their target.
type certificate struct {
	pulumi.ResourceState
	component.Children
	name string
	args *certificateArgs

	// Outputs

	// Requested is the certificate, whether or not it has been issued yet.
	Requested *acm.Certificate
	// ARN is the certificate's ARN, available only once it is issued: a load balancer rejects a certificate that is
	// not. validate sets it.
	ARN pulumi.StringOutput
}

// certificateArgs holds the certificate's inputs.
type certificateArgs struct {
	Domain string
	// HostedZoneID is the Route 53 zone in which the record is created that proves ownership of the domain.
	HostedZoneID string
}

// newCertificate requests the domain's certificate. AWS issues it after validate has declared the DNS record.
func newCertificate(ctx *pulumi.Context, name string, args *certificateArgs, opts ...pulumi.ResourceOption) (*certificate, error) {
	c := &certificate{name: name, args: args}
	err := component.Register(ctx, "eco2:infra:Certificate", name, c, opts...)
	if err != nil {
		return nil, err
	}
	c.Requested, err = acm.NewCertificate(ctx, name, &acm.CertificateArgs{
		DomainName:              pulumi.String(args.Domain),
		SubjectAlternativeNames: pulumi.ToStringArray([]string{"*." + args.Domain}),
		ValidationMethod:        pulumi.String("DNS"),
	}, pulumi.Parent(c))
	if err != nil {
		return nil, fmt.Errorf("requesting certificate for %s: %w", args.Domain, err)
	}
	return c, nil
}

// validate declares the DNS record that proves ownership of the domain, and waits until the certificate is issued.
// The record depends on the network only to shorten a destroy: see below.
func (c *certificate) validate(ctx *pulumi.Context, network *network) error {
	parent := pulumi.Parent(c)

	// One record validates both the domain and its wildcard.
	validation := c.Requested.DomainValidationOptions.Index(pulumi.Int(0))
	record, err := route53.NewRecord(ctx, c.name, &route53.RecordArgs{
		ZoneId:  pulumi.String(c.args.HostedZoneID),
		Name:    validation.ResourceRecordName().Elem(),
		Type:    validation.ResourceRecordType().Elem(),
		Records: pulumi.StringArray{validation.ResourceRecordValue().Elem()},
		Ttl:     pulumi.Int(60),
		// Another stack that validated the same domain before may have left the same record.
		AllowOverwrite: pulumi.Bool(true),
	}, parent,
		// Pulumi deletes the dependency graph level by level and waits for the slowest resource of each level. This
		// dependency puts the record on the machines' level, so that its deletion, which takes about 30 seconds,
		// overlaps with theirs instead of following it.
		component.DependsOn(network))
	if err != nil {
		return fmt.Errorf("creating the validation record of %s: %w", c.args.Domain, err)
	}

	issued, err := acm.NewCertificateValidation(ctx, c.name, &acm.CertificateValidationArgs{
		CertificateArn:        c.Requested.Arn,
		ValidationRecordFqdns: pulumi.StringArray{record.Fqdn},
	}, parent,
		// ACM validates within minutes or, if the hosted zone is wrong, never.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "15m"}))
	if err != nil {
		return fmt.Errorf("waiting for the certificate of %s: %w", c.args.Domain, err)
	}
	c.ARN = issued.CertificateArn

	return ctx.RegisterResourceOutputs(c, pulumi.Map{"arn": c.ARN})
}
