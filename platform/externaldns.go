package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
)

// externalDNS points the names of Ingresses at their load balancers, and takes them away with the Ingress. A
// stack without a domain has none: it would have no zone to write to.
func (p *Platform) externalDNS() Chart {
	selector, tolerations := onControlPlane()
	values := pulumi.Map{
		"provider": pulumi.Map{"name": pulumi.String("aws")},
		"sources":  pulumi.ToStringArray([]string{"ingress"}),
		// With "sync" a record goes when its Ingress goes; the ownership records keep others' safe.
		"policy": pulumi.String("sync"),
		// As soon as an Ingress comes or goes, not within a minute: a destroy has no minute.
		"triggerLoopOnEvent": pulumi.Bool(true),
		"registry":           pulumi.String("txt"),
		"txtOwnerId":         pulumi.String(p.config.Name),
		// Cannot change later without orphans. The record's type is in it, for the apex has room for one TXT.
		"txtPrefix":    pulumi.String("edns-%{record_type}."),
		"env":          pulumi.Array{pulumi.Map{"name": pulumi.String("AWS_DEFAULT_REGION"), "value": pulumi.String(p.config.Region)}},
		"nodeSelector": selector,
		"tolerations":  tolerations,
		"resources":    resources("20m", "64Mi", "128Mi"),

		"domainFilters": pulumi.ToStringArray([]string{p.config.Domain}),
		// The one zone that the node role may write. It may be that of a parent of the domain, which is no match of the
		// filter; and another zone that is one would end each turn with its refusal.
		"extraArgs": pulumi.ToStringArray([]string{
			"--aws-zone-type=public", "--aws-zone-match-parent", "--zone-id-filter=" + p.config.HostedZoneID,
		}),
	}
	return Chart{
		Release: "external-dns", Namespace: platformSystem,
		Repository: "https://kubernetes-sigs.github.io/external-dns/", Name: "external-dns", Version: "1.21.1",
		Values: values,
	}
}

// dnsRecords are the records that external-dns makes: nothing to create, and on delete, where the domain is taken
// away from a cluster that stays, what waits until external-dns has removed them. The Ingress comes after it and so
// goes before; external-dns, its rights and the certificate go when it has ended.
func (p *Platform) dnsRecords(ctx *pulumi.Context, externalDNS pulumi.Resource) (pulumi.Resource, error) {
	args := cluster.Flag("domain", pulumi.String(p.config.Domain))
	args = append(args, cluster.Flag("certificate", p.infra.CertificateARN)...)
	records, err := p.cluster.RunOnDelete(ctx, "dns-records", cluster.Script{Name: "records", Args: args, Minutes: 5},
		pulumi.DependsOn([]pulumi.Resource{externalDNS}))
	if err != nil {
		return nil, fmt.Errorf("declaring the domain's records: %w", err)
	}
	p.made = append(p.made, records)
	return records, nil
}
