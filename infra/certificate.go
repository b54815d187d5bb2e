package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/acm"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Certificate is the domain's and its subdomains' certificate for the load balancer, proven by a DNS
// record. The load balancer's own records are external-dns's: only it knows where they lead.
type Certificate struct {
	pulumi.ResourceState

	// Outputs

	// ARN is the certificate's once it is issued: a load balancer refuses one that is not.
	ARN pulumi.StringOutput
}

// CertificateArgs are the certificate's inputs.
type CertificateArgs struct {
	Domain       string
	HostedZoneID string
	// Subnet is one that the machines stand in. The certificate needs none; see where it is used.
	Subnet pulumi.Resource
}

// NewCertificate declares the certificate and waits for it to be issued.
func NewCertificate(ctx *pulumi.Context, name string, args CertificateArgs, opts ...pulumi.ResourceOption) (*Certificate, error) {
	c := &Certificate{}
	if err := ctx.RegisterComponentResource("eco2:infra:Certificate", name, c, opts...); err != nil {
		return nil, fmt.Errorf("registering certificate %s: %w", name, err)
	}
	parent := pulumi.Parent(c)

	certificate, err := acm.NewCertificate(ctx, name, &acm.CertificateArgs{
		DomainName:              pulumi.String(args.Domain),
		SubjectAlternativeNames: pulumi.ToStringArray([]string{"*." + args.Domain}),
		ValidationMethod:        pulumi.String("DNS"),
	}, parent,
		// A destroy goes in layers, each as far from its end as the resource is from those that need nothing, and
		// waits for the slowest of each. So the record's half a minute passes while the machines end, not after.
		pulumi.DependsOn([]pulumi.Resource{args.Subnet}),
		// A load balancer that was deleted just now may hold it for a moment, one that was forgotten for ever.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Delete: "5m"}))
	if err != nil {
		return nil, fmt.Errorf("requesting certificate for %s: %w", args.Domain, err)
	}

	// A domain and its wildcard are proven by one and the same record.
	proof := certificate.DomainValidationOptions.Index(pulumi.Int(0))
	record, err := route53.NewRecord(ctx, name, &route53.RecordArgs{
		ZoneId:  pulumi.String(args.HostedZoneID),
		Name:    proof.ResourceRecordName().Elem(),
		Type:    proof.ResourceRecordType().Elem(),
		Records: pulumi.StringArray{proof.ResourceRecordValue().Elem()},
		Ttl:     pulumi.Int(60),
		// Another stack that once proved the same domain leaves the same record.
		AllowOverwrite: pulumi.Bool(true),
	}, parent)
	if err != nil {
		return nil, fmt.Errorf("proving the domain %s: %w", args.Domain, err)
	}

	issued, err := acm.NewCertificateValidation(ctx, name, &acm.CertificateValidationArgs{
		CertificateArn:        certificate.Arn,
		ValidationRecordFqdns: pulumi.StringArray{record.Fqdn},
	}, parent,
		// ACM answers within minutes or, with a wrong zone, never.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "15m"}))
	if err != nil {
		return nil, fmt.Errorf("waiting for the certificate of %s: %w", args.Domain, err)
	}
	c.ARN = issued.CertificateArn

	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"arn": c.ARN})
}
