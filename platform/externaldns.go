package platform

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/component"
)

// externalDNS is external-dns, which creates the DNS records that point the host names of Ingresses to their load
// balancers, and deletes them with the Ingress. A stack without a domain does not have it, because there is no zone to
// write to.
type externalDNS struct {
	pulumi.ResourceState
	component.Children
}

// externalDNSArgs holds the inputs of externalDNS.
type externalDNSArgs struct {
	*shared
	Namespaces *namespaces
}

// newExternalDNS declares external-dns.
func newExternalDNS(ctx *pulumi.Context, name string, args *externalDNSArgs, opts ...pulumi.ResourceOption) (*externalDNS, error) {
	d := &externalDNS{}
	if err := component.Register(ctx, "eco2:platform:ExternalDNS", name, d, opts...); err != nil {
		return nil, err
	}
	release, err := args.newRelease(ctx, "external-dns", &releaseArgs{
		Namespace: platformSystem,
		Chart:     chart{Repository: "https://kubernetes-sigs.github.io/external-dns/", Name: "external-dns", Version: "1.21.1"},
		Values: values{
			"provider": values{"name": "aws"},
			"sources":  []string{"ingress"},
			// With "sync" a record is deleted when its Ingress is. Ownership records protect the records of others.
			"policy": "sync",
			// React to a new or deleted Ingress at once and not within a minute: a destroy does not wait that long.
			"triggerLoopOnEvent": true,
			"registry":           "txt",
			"txtOwnerId":         args.config.Name,
			// Changing this later would orphan existing records. The prefix contains the record's type, because there is
			// room for only one TXT record at the apex.
			"txtPrefix":    "edns-%{record_type}.",
			"env":          []values{{"name": "AWS_DEFAULT_REGION", "value": args.config.Region}},
			"nodeSelector": controlPlaneSelector,
			"tolerations":  controlPlaneTolerations,
			"resources":    resources("20m", "64Mi", "128Mi"),

			"domainFilters": []string{args.config.Domain},
			// Use only the zone that the control plane's role may change. That zone may belong to a parent domain, which the
			// domain filter alone would not match, and a second zone that does match would fail every synchronisation with
			// AccessDenied.
			"extraArgs": []string{"--aws-zone-type=public", "--aws-zone-match-parent", "--zone-id-filter=" + args.config.HostedZoneID},
		},
	}, d, args.Namespaces)
	if err != nil {
		return nil, err
	}

	// This command does nothing on create. On delete, which happens if the domain is removed from a cluster that stays,
	// it waits until external-dns has deleted its records. The Ingress depends on this component and is therefore deleted
	// before it; external-dns, its IAM policies and the certificate are deleted afterwards.
	if _, err := args.cluster.NewCommand(ctx, "dns-records", &cluster.CommandArgs{
		Delete: cluster.Script{Name: "records", Args: cluster.Arguments{}.
			Flag("domain", pulumi.String(args.config.Domain)).
			Flag("certificate", args.infra.CertificateARN)},
		Minutes: 5,
	}, component.Child(d), component.DependsOn(release)); err != nil {
		return nil, fmt.Errorf("declaring the removal of the domain's records: %w", err)
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{})
}
