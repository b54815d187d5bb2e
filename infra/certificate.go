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
	name, domain string

	// Outputs

	// Requested is the certificate, issued or not.
	Requested *acm.Certificate
	// ARN is the certificate's once it is issued: a load balancer refuses one that is not. Prove sets it.
	ARN pulumi.StringOutput
}

// NewCertificate requests the domain's certificate. It is issued after Prove.
func NewCertificate(ctx *pulumi.Context, name, domain string, opts ...pulumi.ResourceOption) (*Certificate, error) {
	c := &Certificate{name: name, domain: domain}
	err := ctx.RegisterComponentResource("eco2:infra:Certificate", name, c, opts...)
	if err != nil {
		return nil, fmt.Errorf("registering certificate %s: %w", name, err)
	}
	c.Requested, err = acm.NewCertificate(ctx, name, &acm.CertificateArgs{
		DomainName:              pulumi.String(domain),
		SubjectAlternativeNames: pulumi.ToStringArray([]string{"*." + domain}),
		ValidationMethod:        pulumi.String("DNS"),
	}, pulumi.Parent(c))
	if err != nil {
		return nil, fmt.Errorf("requesting certificate for %s: %w", domain, err)
	}
	return c, nil
}

// Prove declares the DNS record that proves the domain, and waits for the certificate to be issued. The record needs
// nothing of what the machines wait for, routed, and depends on it all the same: see there.
func (c *Certificate) Prove(ctx *pulumi.Context, hostedZoneID string, routed []pulumi.Resource) error {
	parent := pulumi.Parent(c)

	// A domain and its wildcard are proven by one and the same record.
	proof := c.Requested.DomainValidationOptions.Index(pulumi.Int(0))
	record, err := route53.NewRecord(ctx, c.name, &route53.RecordArgs{
		ZoneId:  pulumi.String(hostedZoneID),
		Name:    proof.ResourceRecordName().Elem(),
		Type:    proof.ResourceRecordType().Elem(),
		Records: pulumi.StringArray{proof.ResourceRecordValue().Elem()},
		Ttl:     pulumi.Int(60),
		// Another stack that once proved the same domain leaves the same record.
		AllowOverwrite: pulumi.Bool(true),
	}, parent,
		// A destroy goes in layers, each as far from its end as the resource is from those that need nothing, and
		// waits for the slowest of each. So the record's half a minute passes while the machines end, not after.
		pulumi.DependsOn(routed))
	if err != nil {
		return fmt.Errorf("proving the domain %s: %w", c.domain, err)
	}

	issued, err := acm.NewCertificateValidation(ctx, c.name, &acm.CertificateValidationArgs{
		CertificateArn:        c.Requested.Arn,
		ValidationRecordFqdns: pulumi.StringArray{record.Fqdn},
	}, parent,
		// ACM answers within minutes or, with a wrong zone, never.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: "15m"}))
	if err != nil {
		return fmt.Errorf("waiting for the certificate of %s: %w", c.domain, err)
	}
	c.ARN = issued.CertificateArn

	return ctx.RegisterResourceOutputs(c, pulumi.Map{"arn": c.ARN})
}
