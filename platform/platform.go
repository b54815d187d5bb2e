// Package platform declares what runs in a Ready cluster before any workload: custom resource definitions, charts, the
// storage class, secrets, network policies, and the root Application of the workloads' GitOps repository.
package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"eco2/cluster"
	"eco2/config"
	"eco2/infra"
)

// platform declares the resources in the cluster.
type platform struct {
	config  config.Config
	infra   *infra.Infra
	cluster *cluster.Cluster
	// common holds the options that every object in the cluster has.
	common []pulumi.ResourceOption
	// all lists every resource of the platform. The sweep depends on all of them, so that a destroy runs it first.
	all []pulumi.Resource
}

// New declares the platform and, after all of it, the sweep.
func New(ctx *pulumi.Context, c config.Config, i *infra.Infra, k *cluster.Cluster) error {
	kubeconfig, err := withoutDependencies(ctx, k.Kubeconfig)
	if err != nil {
		return err
	}
	provider, err := kubernetes.NewProvider(ctx, "kubernetes", &kubernetes.ProviderArgs{
		Kubeconfig: kubeconfig,
		// Without an explicit identifier, the provider would take every new kubeconfig for another cluster and replace
		// everything in it.
		ClusterIdentifier:     pulumi.String(c.Name),
		EnableServerSideApply: pulumi.Bool(true),
		// DeleteUnreachable is not set: with it, a refresh from an address that the firewall blocks would remove every
		// object and release from the state. A destroy does not need it, because it deletes none of them by a call to the
		// cluster.
	})
	if err != nil {
		return fmt.Errorf("configuring Kubernetes: %w", err)
	}
	sweep, err := k.EarlySweep(ctx, c.Protect, i.All)
	if err != nil {
		return err
	}
	p := &platform{config: c, infra: i, cluster: k, all: []pulumi.Resource{sweep}, common: []pulumi.ResourceOption{
		pulumi.Provider(provider),
		pulumi.DependsOn([]pulumi.Resource{sweep}),
		// Objects are deleted with the machines. Deleting each of them first would slow down a destroy, and would need an
		// API server that still answers.
		pulumi.DeletedWith(i.VPC),
	}}
	crds, err := p.installCRDs(ctx)
	if err != nil {
		return err
	}

	namespaces, err := p.namespaces(ctx)
	if err != nil {
		return err
	}
	storage, err := p.storageClass(ctx)
	if err != nil {
		return err
	}

	releases := map[string]*release{}
	install := func(chart chart, after ...pulumi.Resource) error {
		after = append(after, k.Ready, k.ArgoCD, namespaces[chart.Namespace])
		after = append(after, i.IAMPolicies...)
		after = append(after, crds[chart.Release])
		installed, err := newRelease(ctx, chart, c.Mirror, p.objectOptions(after...)...)
		if err != nil {
			return err
		}
		releases[chart.Release] = installed
		p.all = append(p.all, installed)
		return nil
	}

	if err := install(p.loadBalancerController()); err != nil {
		return err
	}
	if err := install(p.ebsCSIDriver(), storage); err != nil {
		return err
	}
	if err := install(p.externalSecrets()); err != nil {
		return err
	}
	if err := install(p.redisOperator()); err != nil {
		return err
	}
	if err := install(p.rabbitMQOperator()); err != nil {
		return err
	}
	if err := install(p.metricsServer()); err != nil {
		return err
	}
	store, err := p.secretStore(ctx, releases["external-secrets"])
	if err != nil {
		return err
	}
	grafana, err := p.grafanaSecret(ctx, store, namespaces[monitoring])
	if err != nil {
		return err
	}
	// Prometheus' volumes need the EBS CSI driver, and Grafana needs its password.
	if err := install(p.prometheusStack(), releases["aws-ebs-csi-driver"], grafana); err != nil {
		return err
	}

	if err := p.networkPolicies(ctx, namespaces); err != nil {
		return err
	}
	if c.Domain != "" {
		if err := install(p.externalDNS()); err != nil {
			return err
		}
		records, err := p.dnsRecords(ctx, releases["external-dns"])
		if err != nil {
			return err
		}
		if err := p.argoCDIngress(ctx, releases["aws-load-balancer-controller"], records); err != nil {
			return err
		}
	}
	if err := p.rootApplication(ctx); err != nil {
		return err
	}
	return k.Sweep(ctx, c.Protect, append(p.all, i.All...))
}

// withoutDependencies returns a secret without its dependencies on the resources that it comes from. It waits until the
// value is available.
//
// The engine creates a provider even in an update that --target or --exclude restricts to a part of the stack. If the
// provider depends on a command that is not part of the update, the update fails, and with --exclude it leaves an
// invalid state. Objects do not need this dependency of their provider, because they depend on the cluster's commands
// themselves.
func withoutDependencies(ctx *pulumi.Context, secret pulumi.StringOutput) (pulumi.StringOutput, error) {
	result, err := internals.UnsafeAwaitOutput(ctx.Context(), secret)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	if !result.Known {
		return pulumi.UnsafeUnknownOutput(nil).ApplyT(func(v any) string { return v.(string) }).(pulumi.StringOutput), nil
	}
	return pulumi.ToSecret(pulumi.String(result.Value.(string))).(pulumi.StringOutput), nil
}

// objectOptions returns the options of an object in the cluster that depends on the given resources. It ignores nil.
func (p *platform) objectOptions(after ...pulumi.Resource) []pulumi.ResourceOption {
	var present []pulumi.Resource
	for _, resource := range after {
		if resource != nil {
			present = append(present, resource)
		}
	}
	return append([]pulumi.ResourceOption{pulumi.DependsOn(present)}, p.common...)
}

func (p *platform) prod() bool { return p.config.Environment == config.Prod }

// onControlPlane returns the node selector and tolerations that schedule a chart's pods on the control plane, whose
// taints keep all other pods away. The workers are reserved for the workloads.
func onControlPlane() (selector pulumi.StringMap, tolerations pulumi.Array) {
	return pulumi.StringMap{"node-role.kubernetes.io/control-plane": pulumi.String("")}, pulumi.Array{
		pulumi.Map{"key": pulumi.String("node-role.kubernetes.io/control-plane"), "operator": pulumi.String("Exists"), "effect": pulumi.String("NoSchedule")},
		pulumi.Map{"key": pulumi.String("role"), "operator": pulumi.String("Equal"), "value": pulumi.String("control-plane"), "effect": pulumi.String("NoSchedule")},
	}
}

// resources returns a container's requests and its memory limit. The program sets no CPU limits, because they would
// throttle a container even while the node is idle.
func resources(cpu, memory, limit string) pulumi.Map {
	return pulumi.Map{
		"requests": pulumi.StringMap{"cpu": pulumi.String(cpu), "memory": pulumi.String(memory)},
		"limits":   pulumi.StringMap{"memory": pulumi.String(limit)},
	}
}
