// Package cluster turns the machines into a Kubernetes cluster, over SSH and in this order:
//
//	scripts → prepare (all nodes) → state → init ─┬→ calico ─────────────┐
//	                                              ├→ member (13 workers) ┴→ upgrade-nodes → ready → argocd
//	                                              └→ admin-kubeconfig
//
// Each step runs an idempotent script in scripts/, so after a failed update it is enough to run the update again.
package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command"
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
	"eco2/infra"
)

// readyTimeout is how long the nodes may take to become Ready after the last of them joined, in seconds. Most of that
// time is spent on pulling images and the first start of the CNI plugin.
const readyTimeout = "900"

// Cluster is a Kubernetes cluster whose nodes are all Ready and which runs Argo CD if the stack has a platform.
type Cluster struct {
	pulumi.ResourceState
	component.Children

	// Outputs

	// Kubeconfig is the administrator's kubeconfig. It is a secret.
	Kubeconfig pulumi.StringOutput
	// CertificatesExpire is the date on which the control plane's certificates expire, such as 2027-11-29.
	CertificatesExpire pulumi.StringOutput
	// Ready is the step that waits for the nodes. What needs them, but not Argo CD, depends on it alone and does not wait
	// for Argo CD's installation.
	Ready pulumi.Resource

	host  *host
	infra *infra.Infra
}

// Args holds the inputs of Cluster.
type Args struct {
	Config config.Config
	Infra  *infra.Infra
}

// New declares the cluster on a stack's machines.
func New(ctx *pulumi.Context, name string, args *Args, opts ...pulumi.ResourceOption) (*Cluster, error) {
	conf, i := args.Config, args.Infra
	provider, err := command.NewProvider(ctx, "ssh", &command.ProviderArgs{})
	if err != nil {
		return nil, fmt.Errorf("configuring remote commands: %w", err)
	}
	c := &Cluster{infra: i, host: &host{
		node: i.ControlPlane(), ssh: conf.SSH, provider: provider, mirror: conf.Mirror, reachable: i.SecurityGroup,
	}}
	if err := component.Register(ctx, "eco2:cluster:Cluster", name, c, opts...); err != nil {
		return nil, err
	}
	child := component.Child(c)

	var upgradeAfter []pulumi.Resource
	if i.UpgradeSnapshot != nil {
		upgradeAfter = append(upgradeAfter, i.UpgradeSnapshot)
	}
	control, err := newControlPlane(ctx, c.host.node.Name, &controlPlaneArgs{
		Config: conf, Host: c.host, Server: i.APIEndpoint(), UpgradeAfter: upgradeAfter,
	}, child)
	if err != nil {
		return nil, err
	}
	c.Kubeconfig, c.CertificatesExpire = control.Kubeconfig, control.Expires

	calico, err := c.calico(ctx, conf, child, component.DependsOn(control.initialised))
	if err != nil {
		return nil, err
	}
	complete, names := []pulumi.Resource{calico}, []string{c.host.node.Name}
	for _, node := range i.Nodes[1:] {
		worker, err := newWorker(ctx, node.Name, &workerArgs{
			Config: conf, Node: node, Host: c.host, ControlPlane: control, VPC: i.VPC,
		}, child)
		if err != nil {
			return nil, err
		}
		complete, names = append(complete, worker), append(names, node.Name)
	}

	upgraded, err := c.upgradeNodes(ctx, conf, names, child, component.DependsOn(complete...))
	if err != nil {
		return nil, err
	}
	c.Ready, err = c.NewCommand(ctx, "ready", &CommandArgs{
		Create: Script{Name: "ready", Args: Arguments{}.
			Flag("nodes", pulumi.String(strings.Join(names, ","))).
			Flag("timeout", pulumi.String(readyTimeout))},
		Minutes: 20, Triggers: i.Nodes,
	}, child, component.DependsOn(upgraded))
	if err != nil {
		return nil, err
	}
	if conf.Platform {
		if err := c.argoCD(ctx, conf, child, component.DependsOn(c.Ready)); err != nil {
			return nil, err
		}
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"kubeconfig": c.Kubeconfig})
}

// NewCommand declares a command on the control plane, for a step that concerns the cluster as a whole.
func (c *Cluster) NewCommand(ctx *pulumi.Context, name string, args *CommandArgs, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.newCommand(ctx, name, args, append(opts,
		// If the VPC is deleted, the whole cluster is, so this deletion is skipped. The control plane's instance would not
		// do as the marker, because it is also deleted when it is only replaced.
		pulumi.DeletedWith(c.infra.VPC))...)
}

// upgradeNodes brings the nodes to the configured versions and to the kubelets' configuration, one after the other.
func (c *Cluster) upgradeNodes(ctx *pulumi.Context, conf config.Config, nodes []string, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	kubelets, err := json.Marshal(kubeletConfiguration())
	if err != nil {
		return nil, fmt.Errorf("writing the configuration of the kubelets: %w", err)
	}
	hash := sha256.Sum256(kubelets)
	return c.NewCommand(ctx, "upgrade-nodes", &CommandArgs{
		Create: Script{Name: "upgrade-nodes", Runs: []string{"prepare"}, Args: Arguments{}.
			Flag("nodes", pulumi.String(strings.Join(nodes, ","))).
			Flag("parallel", pulumi.Sprintf("%d", conf.Upgrade.Parallel)).
			Flag("user", pulumi.String(conf.SSH.User)).
			Flag("kubelets", pulumi.String(hex.EncodeToString(hash[:4]))).
			Flag("packages", pulumi.String(conf.Upgrade.Packages)).
			Then(c.host.packages(conf))},
		// Ten minutes for each of 14 nodes, one after the other, and as much again.
		Stdin: conf.SSH.PrivateKey, Minutes: 280,
	}, opts...)
}

// calico installs the pod network: always VXLAN, without BGP and without the operator. Nothing else applies Calico's
// manifest. With it comes the policy that keeps pods away from the metadata service.
func (c *Cluster) calico(ctx *pulumi.Context, conf config.Config, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	kustomization, err := manifest("calico/kustomization.yaml", map[string]string{"POD_CIDR": conf.PodCidr.String()})
	if err != nil {
		return nil, err
	}
	metadataService, err := manifest("calico/metadata-service.yaml", nil)
	if err != nil {
		return nil, err
	}
	return c.NewCommand(ctx, "calico", &CommandArgs{
		Create: Script{Name: "calico", Args: c.manifestArgs(conf.CalicoManifest())},
		Stdin: pulumi.String(bundle(map[string]string{
			"kustomization.yaml": kustomization, "metadata-service.yaml": metadataService,
		})), Minutes: 10,
	}, opts...)
}

// argoCD installs Argo CD, which serves plain HTTP behind a load balancer that terminates TLS. That setting is in its
// ConfigMap before the server first starts; the Deployment's command is never changed.
func (c *Cluster) argoCD(ctx *pulumi.Context, conf config.Config, opts ...pulumi.ResourceOption) error {
	kustomization, err := manifest("argocd/kustomization.yaml", map[string]string{"ARGOCD_URL": ArgoCDURL(conf)})
	if err != nil {
		return err
	}
	_, err = c.NewCommand(ctx, "argocd", &CommandArgs{
		Create: Script{Name: "argocd", Args: c.manifestArgs(conf.ArgoCDManifest())},
		Stdin:  pulumi.String(kustomization), Minutes: 20,
	}, opts...)
	return err
}

// manifestArgs returns the arguments of a script that downloads a pinned manifest and applies it.
func (c *Cluster) manifestArgs(pinned config.Manifest) Arguments {
	return Arguments{}.
		Flag("manifest-url", pulumi.String(pinned.URL)).
		Flag("manifest-sha256", pulumi.String(pinned.SHA256)).
		Flag("files-mirror", pulumi.String(c.host.mirror.Files))
}

// ArgoCDURL returns the URL of Argo CD for its users: behind the load balancer if the stack has a domain, otherwise the
// local end of `kubectl port-forward`.
func ArgoCDURL(c config.Config) string {
	if c.Domain == "" {
		return "http://localhost:8080"
	}
	return fmt.Sprintf("https://argocd.%s:%d", c.Domain, config.ArgoCDPort)
}

// Sweep declares the resource that is created last and therefore deleted first. Its delete removes the load balancers
// and volumes that controllers in the cluster created in AWS, through those controllers and while they still run. These
// resources are in no state and would otherwise block the deletion of the network.
//
// It depends on everything: the infrastructure, the cluster, and what runs in it, which are the given resources. Resources that are deleted with the network leave the
// state without a call, and that must not happen while a sweep fails or is refused.
func (c *Cluster) Sweep(ctx *pulumi.Context, protect bool, after ...pulumi.Resource) error {
	_, err := c.sweep(ctx, "sweep", protect, component.DependsOn(append([]pulumi.Resource{c.infra, c}, after...)...))
	return err
}

// EarlySweep declares a resource with the same delete as Sweep, on which the whole platform depends: it is created
// before anything in the cluster that creates AWS resources. A first update that fails half-way never creates Sweep,
// and a destroy after it runs this delete instead. If Sweep ran before, this one finds nothing to do.
//
// It cannot replace Sweep. The platform depends on it, so it is deleted later than the platform, which leaves the state
// without a call because it is deleted with the network. If this delete fails, the state has already lost a platform
// that still exists.
func (c *Cluster) EarlySweep(ctx *pulumi.Context, protect bool, opts ...pulumi.ResourceOption) (pulumi.Resource, error) {
	return c.sweep(ctx, "early-sweep", protect, append(opts, component.DependsOn(c.infra, c))...)
}

func (c *Cluster) sweep(ctx *pulumi.Context, name string, protect bool, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	return c.host.newCommand(ctx, name, &CommandArgs{
		// It has no triggers: if the sweep were replaced together with the control plane, its delete would run against the
		// new cluster.
		Delete: Script{Name: "sweep", Args: Arguments{}.Flag("timeout", pulumi.String("60"))}, Minutes: 3,
	}, append(opts,
		// It has no DeletedWith: this delete must run when the whole stack is destroyed.
		pulumi.Protect(protect))...) // the first step of a destroy, so a protected stack refuses before anything is deleted
}
