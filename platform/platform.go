// Package platform declares what a Ready cluster carries before any workload: custom resources, charts,
// storage, secrets, network policies, and the root of the workloads' GitOps.
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

// Platform is what runs on the cluster.
type Platform struct {
	config  config.Config
	infra   *infra.Infra
	cluster *cluster.Cluster
	// objects are the options of every object in the cluster.
	objects []pulumi.ResourceOption
	// made is everything of the platform, which the sweep comes after and so, on destroy, before.
	made []pulumi.Resource
}

// New declares the platform and, after all of it, the sweep.
func New(ctx *pulumi.Context, c config.Config, i *infra.Infra, k *cluster.Cluster) error {
	kubeconfig, err := independent(ctx, k.Kubeconfig)
	if err != nil {
		return err
	}
	provider, err := kubernetes.NewProvider(ctx, "kubernetes", &kubernetes.ProviderArgs{
		Kubeconfig: kubeconfig,
		// Without an identity of its own, every new kubeconfig would be another cluster, and everything
		// in it would be replaced.
		ClusterIdentifier:     pulumi.String(c.Name),
		EnableServerSideApply: pulumi.Bool(true),
		// Without DeleteUnreachable: a refresh from where the firewall lets nobody in would take every object and
		// release for gone. A destroy asks the cluster for none of them.
	})
	if err != nil {
		return fmt.Errorf("configuring Kubernetes: %w", err)
	}
	sweep, err := k.EarlySweep(ctx, c.Protect, i.Made)
	if err != nil {
		return err
	}
	p := &Platform{config: c, infra: i, cluster: k, made: []pulumi.Resource{sweep}, objects: []pulumi.ResourceOption{
		pulumi.Provider(provider),
		pulumi.DependsOn([]pulumi.Resource{sweep}),
		// The cluster goes with its machines: taking each object out of it first would be the slow way to
		// destroy, and needs an API server that still answers.
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

	releases := map[string]*Release{}
	release := func(chart Chart, after ...pulumi.Resource) error {
		after = append(after, k.Ready, k.ArgoCD, namespaces[chart.Namespace])
		after = append(after, i.Granted...)
		after = append(after, crds[chart.Release])
		made, err := newRelease(ctx, chart, c.Mirror, p.with(after...)...)
		if err != nil {
			return err
		}
		releases[chart.Release] = made
		p.made = append(p.made, made)
		return nil
	}

	if err := release(p.loadBalancerController()); err != nil {
		return err
	}
	if err := release(p.ebsCSIDriver(), storage); err != nil {
		return err
	}
	if err := release(p.externalSecrets()); err != nil {
		return err
	}
	if err := release(p.redisOperator()); err != nil {
		return err
	}
	if err := release(p.rabbitMQOperator()); err != nil {
		return err
	}
	if err := release(p.metricsServer()); err != nil {
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
	// Its volumes need the driver, Grafana its password.
	if err := release(p.prometheusStack(), releases["aws-ebs-csi-driver"], grafana); err != nil {
		return err
	}

	if err := p.networkPolicies(ctx, namespaces); err != nil {
		return err
	}
	if c.Domain != "" {
		if err := release(p.externalDNS()); err != nil {
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
	return k.Sweep(ctx, c.Protect, append(p.made, i.Made...))
}

// independent is a secret without the resources that it comes from, whose end it waits for.
//
// The engine makes a provider even in an update that --target or --exclude keep to a part of the stack. A
// provider that depends on a command that was left out ends that update, and with --exclude leaves a state that
// is not valid. Objects do not need the dependency: they depend on the cluster's commands themselves.
func independent(ctx *pulumi.Context, secret pulumi.StringOutput) (pulumi.StringOutput, error) {
	result, err := internals.UnsafeAwaitOutput(ctx.Context(), secret)
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	if !result.Known {
		return pulumi.UnsafeUnknownOutput(nil).ApplyT(func(v any) string { return v.(string) }).(pulumi.StringOutput), nil
	}
	return pulumi.ToSecret(pulumi.String(result.Value.(string))).(pulumi.StringOutput), nil
}

// with are the options of an object that comes after others.
func (p *Platform) with(after ...pulumi.Resource) []pulumi.ResourceOption {
	var present []pulumi.Resource
	for _, resource := range after {
		if resource != nil {
			present = append(present, resource)
		}
	}
	return append([]pulumi.ResourceOption{pulumi.DependsOn(present)}, p.objects...)
}

func (p *Platform) prod() bool { return p.config.Environment == config.Prod }

// onControlPlane puts a chart's pods on the control plane, whose taints keep everything else away. The
// workers belong to the workloads.
func onControlPlane() (selector pulumi.StringMap, tolerations pulumi.Array) {
	return pulumi.StringMap{"node-role.kubernetes.io/control-plane": pulumi.String("")}, pulumi.Array{
		pulumi.Map{"key": pulumi.String("node-role.kubernetes.io/control-plane"), "operator": pulumi.String("Exists"), "effect": pulumi.String("NoSchedule")},
		pulumi.Map{"key": pulumi.String("role"), "operator": pulumi.String("Equal"), "value": pulumi.String("control-plane"), "effect": pulumi.String("NoSchedule")},
	}
}

// resources are a container's requests and its memory limit. The program sets no CPU limit: it would throttle a
// container while the node is idle.
func resources(cpu, memory, limit string) pulumi.Map {
	return pulumi.Map{
		"requests": pulumi.StringMap{"cpu": pulumi.String(cpu), "memory": pulumi.String(memory)},
		"limits":   pulumi.StringMap{"memory": pulumi.String(limit)},
	}
}
