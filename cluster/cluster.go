// Package cluster makes a Kubernetes cluster of machines, over SSH and in this order:
//
//	scripts → prepare (all nodes) → init ─┬→ calico ─────────────┐
//	                                      ├→ member (13 workers) ┼→ ready → argocd
//	                                      └→ admin-kubeconfig    ┘
//
// Each step is an idempotent script in scripts/, so a failed update is simply run again.
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

// readyTimeout is how long the nodes may take to become Ready after the last of them joined, in seconds.
// Images and the first CNI start are most of it.
const readyTimeout = "900"

// Cluster is a cluster whose nodes are all Ready and which, where the stack has a platform, runs Argo CD.
type Cluster struct {
	// Kubeconfig is the administrator's. Secret.
	Kubeconfig pulumi.StringOutput
	// Ready is what anything waits for that needs the nodes, ArgoCD what needs its custom resources; nil
	// without a platform.
	Ready, ArgoCD pulumi.Resource

	host *Host
	vpc  *ec2.Vpc
	// made is everything of the cluster.
	made []pulumi.Resource
}

// New declares the cluster on the machines of i.
func New(ctx *pulumi.Context, c config.Config, i *infra.Infra) (*Cluster, error) {
	provider, err := command.NewProvider(ctx, "ssh", &command.ProviderArgs{})
	if err != nil {
		return nil, fmt.Errorf("configuring remote commands: %w", err)
	}
	host := &Host{node: i.ControlPlane(), ssh: c.SSH, provider: provider, mirror: c.Mirror, reachable: i.SecurityGroup.Rules}
	control, err := NewControlPlane(ctx, host, c, i.APIEndpoint())
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
		worker, err := NewWorker(ctx, node, c, control, i.VPC)
		if err != nil {
			return nil, err
		}
		complete = append(complete, worker.member)
		names = append(names, node.Name)
		cluster.made = append(cluster.made, worker)
	}

	cluster.Ready, err = cluster.Run(ctx, "ready", Script{Name: "ready", Args: flags(
		Flag("nodes", pulumi.String(strings.Join(names, ","))),
		Flag("timeout", pulumi.String(readyTimeout)),
	), Minutes: 20, For: i.Nodes}, pulumi.DependsOn(complete))
	if err != nil {
		return nil, err
	}
	cluster.made = append(cluster.made, control, calico, cluster.Ready)
	if c.Platform {
		argoCD, err := cluster.argoCD(ctx, c)
		if err != nil {
			return nil, err
		}
		cluster.ArgoCD = argoCD
		cluster.made = append(cluster.made, argoCD)
	}
	return cluster, nil
}

// RunOnDelete declares a script that runs, from the control plane, when a part of the cluster is taken away, and
// nothing before. It does not run when the whole cluster goes.
func (c *Cluster) RunOnDelete(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.RunOnDelete(ctx, name, s, append(opts,
		pulumi.DeletedWith(c.vpc))...) // for Run's reason
}

// Run declares a script that changes the cluster as a whole, from the control plane.
func (c *Cluster) Run(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.Run(ctx, name, s, append(opts,
		// Nothing is taken out of a cluster that goes away, and the network's end is what says so: a control
		// plane's machine also goes when it is replaced.
		pulumi.DeletedWith(c.vpc))...)
}

// Downloads tells a script where to download from; see config.Mirror.
func (c *Cluster) Downloads() []pulumi.StringInput { return c.host.mirrorFlag() }

// calico is the network between pods: VXLAN always, without BGP and without the operator, applied here
// and by nobody else.
func (c *Cluster) calico(ctx *pulumi.Context, conf config.Config, initialised pulumi.Resource) (*remote.Command, error) {
	kustomization, err := manifest("calico/kustomization.yaml", map[string]string{"POD_CIDR": conf.PodCidr.String()})
	if err != nil {
		return nil, err
	}
	pinned := conf.CalicoManifest()
	return c.Run(ctx, "calico", Script{Name: "calico", Args: flags(
		Flag("manifest-url", pulumi.String(pinned.URL)),
		Flag("manifest-sha256", pulumi.String(pinned.SHA256)),
		c.Downloads(),
	), Data: pulumi.String(kustomization), Minutes: 10}, pulumi.DependsOn([]pulumi.Resource{initialised}))
}

// argoCD serves plain HTTP behind the load balancer that ends TLS. The setting is in its ConfigMap before
// the server first starts, and the Deployment's command is never touched.
func (c *Cluster) argoCD(ctx *pulumi.Context, conf config.Config) (*remote.Command, error) {
	kustomization, err := manifest("argocd/kustomization.yaml", map[string]string{"ARGOCD_URL": ArgoCDURL(conf)})
	if err != nil {
		return nil, err
	}
	pinned := conf.ArgoCDManifest()
	return c.Run(ctx, "argocd", Script{Name: "argocd", Args: flags(
		Flag("manifest-url", pulumi.String(pinned.URL)),
		Flag("manifest-sha256", pulumi.String(pinned.SHA256)),
		c.Downloads(),
	), Data: pulumi.String(kustomization), Minutes: 20}, pulumi.DependsOn([]pulumi.Resource{c.Ready}))
}

// ArgoCDURL is where people find Argo CD: behind the load balancer where there is a domain, and through
// `kubectl port-forward` where there is none.
func ArgoCDURL(c config.Config) string {
	if c.Domain == "" {
		return "http://localhost:8080"
	}
	return "https://argocd." + c.Domain
}

// Sweep declares the resource that is created last and so deleted first. Its delete takes away, through
// their controllers and while these still live, the load balancers and volumes that AWS would otherwise
// hold against the network: no state knows them.
//
// It comes after everything, the rest of the cluster included: what goes with the network leaves the state
// without a call, and must not do so beside a sweep that fails or is refused.
func (c *Cluster) Sweep(ctx *pulumi.Context, protect bool, after []pulumi.Resource) error {
	_, err := c.sweep(ctx, "sweep", protect, after)
	return err
}

// EarlySweep declares the same delete as Sweep, before anything is in the cluster that makes something in AWS:
// all of the platform comes after it. A first update that fails half-way never comes to Sweep, and its destroy
// has this one. After Sweep it finds nothing to do.
//
// It cannot take Sweep's place. What comes after it is deleted before it, and with the network, so it leaves the
// state without a call: where this one fails, the state has forgotten a platform that is still there.
func (c *Cluster) EarlySweep(ctx *pulumi.Context, protect bool, after []pulumi.Resource) (pulumi.Resource, error) {
	return c.sweep(ctx, "early-sweep", protect, after)
}

func (c *Cluster) sweep(ctx *pulumi.Context, name string, protect bool, after []pulumi.Resource) (*remote.Command, error) {
	return c.host.RunOnDelete(ctx, name, Script{
		Name: "sweep", Args: Flag("timeout", pulumi.String("60")), Minutes: 3,
		// For no machine: replaced with the control plane, its delete would sweep the new cluster.
	},
		// No DeletedWith: this delete is the one that must run when the whole stack goes.
		pulumi.Protect(protect), // it is the first step of a destroy, so a protected stack refuses there
		pulumi.DependsOn(slices.Concat(c.made, after)))
}
