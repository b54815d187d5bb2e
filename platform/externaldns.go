package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
)

// externalDNS returns the chart of external-dns, which creates the DNS records that point the host names of Ingresses
// to their load balancers, and deletes them with the Ingress. A stack without a domain does not have it, because there
// is no zone to write to.
func (p *platform) externalDNS() chart {
	selector, tolerations := onControlPlane()
	values := pulumi.Map{
		"provider": pulumi.Map{"name": pulumi.String("aws")},
		"sources":  pulumi.ToStringArray([]string{"ingress"}),
		// With "sync" a record is deleted when its Ingress is. Ownership records protect the records of others.
		"policy": pulumi.String("sync"),
		// React to a new or deleted Ingress at once and not within a minute: a destroy does not wait that long.
		"triggerLoopOnEvent": pulumi.Bool(true),
		"registry":           pulumi.String("txt"),
		"txtOwnerId":         pulumi.String(p.config.Name),
		// Changing this later would orphan existing records. The prefix contains the record's type, because there is room
		// for only one TXT record at the apex.
		"txtPrefix":    pulumi.String("edns-%{record_type}."),
		"env":          pulumi.Array{pulumi.Map{"name": pulumi.String("AWS_DEFAULT_REGION"), "value": pulumi.String(p.config.Region)}},
		"nodeSelector": selector,
		"tolerations":  tolerations,
		"resources":    resources("20m", "64Mi", "128Mi"),

		"domainFilters": pulumi.ToStringArray([]string{p.config.Domain}),
		// Use only the zone that the node role may change. That zone may belong to a parent domain, which the domain filter
		// alone would not match, and a second zone that does match would fail every synchronisation with AccessDenied.
		"extraArgs": pulumi.ToStringArray([]string{
			"--aws-zone-type=public", "--aws-zone-match-parent", "--zone-id-filter=" + p.config.HostedZoneID,
		}),
	}
	return chart{
		Release: "external-dns", Namespace: platformSystem,
		Repository: "https://kubernetes-sigs.github.io/external-dns/", Name: "external-dns", Version: "1.21.1",
		Values: values,
	}
}

// dnsRecords declares a command that does nothing on create. On delete, which happens if the domain is removed from a
// cluster that stays, it waits until external-dns has deleted its records. The Ingress depends on this command and is
// therefore deleted before it; external-dns, its IAM policies and the certificate are deleted afterwards.
func (p *platform) dnsRecords(ctx *pulumi.Context, externalDNS pulumi.Resource) (pulumi.Resource, error) {
	args := cluster.Flag("domain", pulumi.String(p.config.Domain))
	args = append(args, cluster.Flag("certificate", p.infra.CertificateARN)...)
	records, err := p.cluster.RunOnDelete(ctx, "dns-records", cluster.Script{Name: "records", Args: args, Minutes: 5},
		pulumi.DependsOn([]pulumi.Resource{externalDNS}))
	if err != nil {
		return nil, fmt.Errorf("declaring the removal of the domain's records: %w", err)
	}
	p.all = append(p.all, records)
	return records, nil
}
