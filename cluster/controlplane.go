package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"eco2/config"
)

// ControlPlane is the first node: prepared, initialised by kubeadm, and able to say how it is reached.
type ControlPlane struct {
	pulumi.ResourceState

	host *Host
	// initialised is what joins and everything in the cluster wait for.
	initialised *remote.Command

	// Outputs

	// Kubeconfig is the administrator's, with the address that people reach. Secret.
	Kubeconfig pulumi.StringOutput
}

// unmadeKubeconfig is the kubeconfig of a cluster that is not made yet: complete, for a name that cannot exist
// (RFC 2606). With an empty one the Kubernetes provider, as kubectl, would take the cluster of somebody's shell.
const unmadeKubeconfig = `apiVersion: v1
kind: Config
clusters:
- {name: not-made-yet, cluster: {server: "https://not-made-yet.invalid:6443"}}
contexts:
- {name: not-made-yet, context: {cluster: not-made-yet, user: nobody}}
current-context: not-made-yet
users:
- {name: nobody, user: {}}
`

// NewControlPlane declares the control plane on a machine.
func NewControlPlane(ctx *pulumi.Context, host *Host, c config.Config, server pulumi.StringInput, opts ...pulumi.ResourceOption) (*ControlPlane, error) {
	p := &ControlPlane{host: host}
	node := host.node
	if err := ctx.RegisterComponentResource("eco2:cluster:ControlPlane", node.Name, p, opts...); err != nil {
		return nil, fmt.Errorf("registering control plane %s: %w", node.Name, err)
	}
	parent := pulumi.Parent(p)
	// The control plane is its machine: a new one starts all of this again.
	goesWithMachine := pulumi.DeletedWith(node.Instance)

	if err := host.install(ctx, parent, goesWithMachine); err != nil {
		return nil, err
	}
	prepared, err := host.prepare(ctx, node, c.Versions, parent)
	if err != nil {
		return nil, err
	}

	configuration := pulumi.All(node.PrivateIP, node.PublicIP, node.ProviderID()).ApplyT(func(values []any) (string, error) {
		return initConfiguration(c, node, values[0].(string), values[1].(string), values[2].(string))
	}).(pulumi.StringOutput)
	p.initialised, err = host.Run(ctx, "init-"+node.Name, Script{Name: "init", Args: flags(
		Flag("node", pulumi.String(node.Name)),
		Flag("address", node.PrivateIP),
		Flag("provider-id", node.ProviderID()),
		marks(node),
	), Data: configuration, Minutes: 30}, parent, goesWithMachine, pulumi.DependsOn([]pulumi.Resource{prepared}))
	if err != nil {
		return nil, err
	}

	kubeconfig, err := host.Run(ctx, "admin-kubeconfig", Script{
		Name: "kubeconfig", Args: Flag("server", server), Data: sealKey(c.SSH, "kubeconfig"), Minutes: 10,
		Secret: true, // it is the administrator's key
	}, parent, goesWithMachine, pulumi.DependsOn([]pulumi.Resource{p.initialised}),
		// The first key stays, whatever becomes of the machines': a preview, which runs nothing, has to open what
		// was printed the last time.
		pulumi.IgnoreChanges([]string{"stdin"}))
	if err != nil {
		return nil, err
	}
	opened := pulumi.All(kubeconfig.Stdout, kubeconfig.Stdin.Elem()).ApplyT(func(values []any) (string, error) {
		text, err := unseal(values[0].(string), values[1].(string))
		if err != nil {
			return "", fmt.Errorf("opening what kubeconfig.sh printed: %w", err)
		}
		return text, nil
	}).(pulumi.StringOutput)
	p.Kubeconfig = pulumi.ToSecret(orUnmade(ctx, opened)).(pulumi.StringOutput)

	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"kubeconfig": p.Kubeconfig})
}

// orUnmade is a kubeconfig, or unmadeKubeconfig where an update with --target or --exclude leaves out the command that
// would print it. Then the engine takes it for unknown, as in a preview, and writes that into the state of the
// Kubernetes provider, which compares it in the next update and fails. ApplyT alone would not be called for it.
func orUnmade(ctx *pulumi.Context, kubeconfig pulumi.StringOutput) pulumi.StringOutput {
	if ctx.DryRun() { // a preview shows as unknown what is not made yet
		return kubeconfig
	}
	return pulumi.String("").ToStringOutput().ApplyT(func(string) (pulumi.StringOutput, error) {
		printed, err := internals.UnsafeAwaitOutput(ctx.Context(), kubeconfig)
		if err != nil || printed.Known {
			return kubeconfig, err
		}
		return pulumi.String(unmadeKubeconfig).ToStringOutput(), nil
	}).(pulumi.StringOutput)
}
