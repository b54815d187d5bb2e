// Package platform declares what runs in a Ready cluster before any workload: custom resource definitions, charts, the
// storage class, secrets and network policies. After it come the workloads, of which it declares only the root
// Application of their GitOps repository.
package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"eco2/cluster"
	"eco2/component"
	"eco2/config"
	"eco2/infra"
)

// Platform is everything in the cluster on which workloads depend.
type Platform struct {
	pulumi.ResourceState
	component.Children

	shared *shared
}

// Args holds the inputs of Platform.
type Args struct {
	Config  config.Config
	Infra   *infra.Infra
	Cluster *cluster.Cluster
}

// New declares the platform.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Platform, error) {
	conf := args.Config
	kubeconfig, err := withoutDependencies(ctx, args.Cluster.Kubeconfig)
	if err != nil {
		return nil, err
	}
	provider, err := kubernetes.NewProvider(ctx, "kubernetes", &kubernetes.ProviderArgs{
		Kubeconfig: kubeconfig,
		// Without an explicit identifier, the provider would take every new kubeconfig for another cluster and replace
		// everything in it.
		ClusterIdentifier:     pulumi.String(conf.Name),
		EnableServerSideApply: pulumi.Bool(true),
		// DeleteUnreachable is not set: with it, a refresh from an address that the firewall blocks would remove every
		// object and release from the state. A destroy does not need it, because it deletes none of them by a call to the
		// cluster.
	})
	if err != nil {
		return nil, fmt.Errorf("configuring Kubernetes: %w", err)
	}
	p := &Platform{}
	if err := component.Register(ctx, "eco2:platform:Platform", name, p, opts...); err != nil {
		return nil, err
	}
	sweep, err := args.Cluster.EarlySweep(ctx, conf.Protect, component.Child(p))
	if err != nil {
		return nil, err
	}
	p.shared = &shared{
		config: conf, infra: args.Infra, cluster: args.Cluster, provider: provider, earlySweep: sweep,
	}
	parent := pulumi.Parent(p)

	namespaces, err := newNamespaces(ctx, "namespaces", &namespacesArgs{shared: p.shared}, parent)
	if err != nil {
		return nil, err
	}
	balancers, err := newLoadBalancerController(ctx, "aws-load-balancer-controller", &loadBalancerControllerArgs{shared: p.shared}, parent)
	if err != nil {
		return nil, err
	}
	volumes, err := newEBSCSIDriver(ctx, "aws-ebs-csi-driver", &ebsCSIDriverArgs{shared: p.shared}, parent)
	if err != nil {
		return nil, err
	}
	secrets, err := newExternalSecrets(ctx, "external-secrets", &externalSecretsArgs{shared: p.shared, Namespaces: namespaces}, parent)
	if err != nil {
		return nil, err
	}
	if _, err := newRedisOperator(ctx, "redis-operator", &redisOperatorArgs{shared: p.shared, Namespaces: namespaces}, parent); err != nil {
		return nil, err
	}
	if _, err := newRabbitMQOperator(ctx, "rabbitmq-cluster-operator", &rabbitMQOperatorArgs{shared: p.shared, Namespaces: namespaces}, parent); err != nil {
		return nil, err
	}
	if err := p.metricsServer(ctx); err != nil {
		return nil, err
	}
	if _, err := newPrometheusStack(ctx, "kube-prometheus-stack", &prometheusStackArgs{
		shared: p.shared, Namespaces: namespaces, Secrets: secrets, Volumes: volumes,
	}, parent); err != nil {
		return nil, err
	}
	if conf.Domain != "" {
		records, err := newExternalDNS(ctx, "external-dns", &externalDNSArgs{shared: p.shared, Namespaces: namespaces}, parent)
		if err != nil {
			return nil, err
		}
		if err := p.webIngress(ctx, balancers, records); err != nil {
			return nil, err
		}
		if err := p.argoCDIngress(ctx, balancers, records); err != nil {
			return nil, err
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{})
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
