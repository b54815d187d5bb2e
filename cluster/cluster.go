// Package cluster turns the machines into a Kubernetes cluster, over SSH and in this order:
//
//	scripts → prepare (all nodes) → init ─┬→ calico ─────────────┐
//	                                      ├→ member (13 workers) ┼→ ready → argocd
//	                                      └→ admin-kubeconfig    ┘
//
// Each step runs an idempotent script in scripts/, so after a failed update it is enough to run the update again.
package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-command/sdk/go/command"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
	"eco2/infra"
)

// readyTimeout is how long the nodes may take to become Ready after the last of them joined, in seconds. Most of that
// time is spent on pulling images and the first start of the CNI plugin.
const readyTimeout = "900"

// Cluster is a Kubernetes cluster whose nodes are all Ready and which runs Argo CD if the stack has a platform.
type Cluster struct {
	// Kubeconfig is the administrator's kubeconfig. It is a secret.
	Kubeconfig pulumi.StringOutput
	// Ready is the step that waits for the nodes. Whatever needs schedulable nodes must depend on it.
	Ready pulumi.Resource
	// ArgoCD is the step that installs Argo CD. Whatever needs Argo CD's custom resource definitions must depend on it.
	// It is nil without a platform.
	ArgoCD pulumi.Resource

	host *host
	vpc  *ec2.Vpc
	// all lists every resource of the cluster except the sweeps, so that the sweeps can depend on all of them.
	all []pulumi.Resource
}

// New declares the cluster on the machines of i.
func New(ctx *pulumi.Context, c config.Config, i *infra.Infra) (*Cluster, error) {
	provider, err := command.NewProvider(ctx, "ssh", &command.ProviderArgs{})
	if err != nil {
		return nil, fmt.Errorf("configuring remote commands: %w", err)
	}
	host := &host{node: i.ControlPlane(), ssh: c.SSH, provider: provider, mirror: c.Mirror, inboundRules: i.SecurityGroup.Rules}
	control, err := newControlPlane(ctx, host, c, i.APIEndpoint())
	if err != nil {
		return nil, err
	}
	cluster := &Cluster{Kubeconfig: control.Kubeconfig, host: host, vpc: i.VPC}

	calico, err := cluster.calico(ctx, c, control.initialised)
	if err != nil {
		return nil, err
	}
	complete := []pulumi.Resource{calico}
	names := []string{i.ControlPlane().Name}
	for _, node := range i.Nodes[1:] {
		worker, err := newWorker(ctx, node, c, control, i.VPC)
		if err != nil {
			return nil, err
		}
		complete = append(complete, worker.member)
		names = append(names, node.Name)
		cluster.all = append(cluster.all, worker)
	}

	cluster.Ready, err = cluster.Run(ctx, "ready", Script{Name: "ready", Args: joinArgs(
		Flag("nodes", pulumi.String(strings.Join(names, ","))),
		Flag("timeout", pulumi.String(readyTimeout)),
	), Minutes: 20, Triggers: i.Nodes}, pulumi.DependsOn(complete))
	if err != nil {
		return nil, err
	}
	cluster.all = append(cluster.all, control, calico, cluster.Ready)
	if c.Platform {
		argoCD, err := cluster.argoCD(ctx, c)
		if err != nil {
			return nil, err
		}
		cluster.ArgoCD = argoCD
		cluster.all = append(cluster.all, argoCD)
	}
	return cluster, nil
}

// RunOnDelete declares a command that runs a script on the control plane when the command is deleted, and does nothing
// before. The script does not run when the whole cluster is deleted.
func (c *Cluster) RunOnDelete(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.RunOnDelete(ctx, name, s, append(opts,
		pulumi.DeletedWith(c.vpc))...) // for the same reason as in Run
}

// Run declares a command that runs a script on the control plane, for steps that concern the cluster as a whole.
func (c *Cluster) Run(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.Run(ctx, name, s, append(opts,
		// If the VPC is deleted, the whole cluster is, so this deletion is skipped. The control plane's instance would not
		// do as the marker, because it is also deleted when it is only replaced.
		pulumi.DeletedWith(c.vpc))...)
}

// MirrorFlag returns the flag that tells a script where to download files from; see config.Mirror.
func (c *Cluster) MirrorFlag() []pulumi.StringInput { return c.host.mirrorFlag() }

// calico installs the pod network: always VXLAN, without BGP and without the operator. Nothing else applies Calico's
// manifest.
func (c *Cluster) calico(ctx *pulumi.Context, conf config.Config, initialised pulumi.Resource) (*remote.Command, error) {
	kustomization, err := manifest("calico/kustomization.yaml", map[string]string{"POD_CIDR": conf.PodCidr.String()})
	if err != nil {
		return nil, err
	}
	pinned := conf.CalicoManifest()
	return c.Run(ctx, "calico", Script{Name: "calico", Args: joinArgs(
		Flag("manifest-url", pulumi.String(pinned.URL)),
		Flag("manifest-sha256", pulumi.String(pinned.SHA256)),
		c.MirrorFlag(),
	), Data: pulumi.String(kustomization), Minutes: 10}, pulumi.DependsOn([]pulumi.Resource{initialised}))
}

// argoCD installs Argo CD, which serves plain HTTP behind a load balancer that terminates TLS. That setting is in its
// ConfigMap before the server first starts; the Deployment's command is never changed.
func (c *Cluster) argoCD(ctx *pulumi.Context, conf config.Config) (*remote.Command, error) {
	kustomization, err := manifest("argocd/kustomization.yaml", map[string]string{"ARGOCD_URL": ArgoCDURL(conf)})
	if err != nil {
		return nil, err
	}
	pinned := conf.ArgoCDManifest()
	return c.Run(ctx, "argocd", Script{Name: "argocd", Args: joinArgs(
		Flag("manifest-url", pulumi.String(pinned.URL)),
		Flag("manifest-sha256", pulumi.String(pinned.SHA256)),
		c.MirrorFlag(),
	), Data: pulumi.String(kustomization), Minutes: 20}, pulumi.DependsOn([]pulumi.Resource{c.Ready}))
}

// ArgoCDURL returns the URL of Argo CD for its users: behind the load balancer if the stack has a domain, otherwise the
// local end of `kubectl port-forward`.
func ArgoCDURL(c config.Config) string {
	if c.Domain == "" {
		return "http://localhost:8080"
	}
	return "https://argocd." + c.Domain
}

// Sweep declares the resource that is created last and therefore deleted first. Its delete removes the load balancers
// and volumes that controllers in the cluster created in AWS, through those controllers and while they still run. These
// resources are in no state and would otherwise block the deletion of the network.
//
// It depends on everything, including the rest of the cluster: resources that are deleted with the network leave the
// state without a call, and that must not happen while a sweep fails or is refused.
func (c *Cluster) Sweep(ctx *pulumi.Context, protect bool, after []pulumi.Resource) error {
	_, err := c.sweep(ctx, "sweep", protect, after)
	return err
}

// EarlySweep declares a resource with the same delete as Sweep, on which the whole platform depends: it is created
// before anything in the cluster that creates AWS resources. A first update that fails half-way never creates Sweep,
// and a destroy after it runs this delete instead. If Sweep ran before, this one finds nothing to do.
//
// It cannot replace Sweep. The platform depends on it, so it is deleted later than the platform, which leaves the state
// without a call because it is deleted with the network. If this delete fails, the state has already lost a platform
// that still exists.
func (c *Cluster) EarlySweep(ctx *pulumi.Context, protect bool, after []pulumi.Resource) (pulumi.Resource, error) {
	return c.sweep(ctx, "early-sweep", protect, after)
}

func (c *Cluster) sweep(ctx *pulumi.Context, name string, protect bool, after []pulumi.Resource) (*remote.Command, error) {
	return c.host.RunOnDelete(ctx, name, Script{
		Name: "sweep", Args: Flag("timeout", pulumi.String("60")), Minutes: 3,
		// It has no triggers: if the sweep were replaced together with the control plane, its delete would run against the
		// new cluster.
	},
		// It has no DeletedWith: this delete must run when the whole stack is destroyed.
		pulumi.Protect(protect), // the first step of a destroy, so a protected stack refuses before anything is deleted
		pulumi.DependsOn(slices.Concat(c.all, after)))
}
