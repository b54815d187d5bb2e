package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// externalDNS points the names of Ingresses at their load balancers, and takes them away with the Ingress.
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
	}
	if p.config.Domain != "" {
		values["domainFilters"] = pulumi.ToStringArray([]string{p.config.Domain})
		// The one zone that the node role may write. It may be that of a parent of the domain, which is no match of the
		// filter; and another zone that is one would end each turn with its refusal.
		values["extraArgs"] = pulumi.ToStringArray([]string{
			"--aws-zone-type=public", "--aws-zone-match-parent", "--zone-id-filter=" + p.config.HostedZoneID,
		})
	} else {
		// No domain, no zone: it runs, and writes nothing.
		values["policy"] = pulumi.String("create-only")
		values["extraArgs"] = pulumi.ToStringArray([]string{"--dry-run"})
	}
	return Chart{
		Release: "external-dns", Namespace: platformSystem,
		Repository: "https://kubernetes-sigs.github.io/external-dns/", Name: "external-dns", Version: "1.21.1",
		Values: values,
	}
}
