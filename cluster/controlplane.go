package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"eco2/component"
	"eco2/config"
)

// controlPlane is the first node: its machine is prepared and initialised by kubeadm, and provides the kubeconfig.
type controlPlane struct {
	pulumi.ResourceState
	component.Children

	// initialised runs kubeadm init. The joins and everything in the cluster depend on it.
	initialised *remote.Command

	// Outputs

	// Kubeconfig is the administrator's kubeconfig with the API's public address. It is a secret.
	Kubeconfig pulumi.StringOutput
	// Expires is the date on which the certificate in the kubeconfig expires, such as 2027-11-29. It is empty if that is
	// not known.
	Expires pulumi.StringOutput
}

// placeholderKubeconfig stands in for the kubeconfig of a cluster that does not exist yet. It is a complete kubeconfig
// with a host name that cannot exist (RFC 2606). With an empty kubeconfig the Kubernetes provider would, like kubectl,
// use the cluster that the user's shell is configured for.
const placeholderKubeconfig = `apiVersion: v1
kind: Config
clusters:
- {name: not-made-yet, cluster: {server: "https://not-made-yet.invalid:6443"}}
contexts:
- {name: not-made-yet, context: {cluster: not-made-yet, user: nobody}}
current-context: not-made-yet
users:
- {name: nobody, user: {}}
`

// controlPlaneArgs holds the control plane's inputs.
type controlPlaneArgs struct {
	Config config.Config
	Host   *host
	// Server is the public URL of the Kubernetes API.
	Server pulumi.StringInput
	// UpgradeAfter lists what must exist before the control plane is upgraded: the snapshot to go back to.
	UpgradeAfter []pulumi.Resource
}

// newControlPlane declares the control plane on the host's machine.
func newControlPlane(ctx *pulumi.Context, name string, args *controlPlaneArgs, opts ...pulumi.ResourceOption) (*controlPlane, error) {
	p := &controlPlane{}
	c, host, node := args.Config, args.Host, args.Host.node
	if err := component.Register(ctx, "eco2:cluster:ControlPlane", name, p, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(p)
	// What these commands do is done on the machine, and is done again on a new one.
	deletedWithMachine := pulumi.DeletedWith(node.Instance)

	if err := host.install(ctx, parent, deletedWithMachine); err != nil {
		return nil, err
	}
	prepared, err := host.prepare(ctx, node, c, parent)
	if err != nil {
		return nil, err
	}

	state, err := host.newCommand(ctx, "state-"+name, &CommandArgs{
		Create: Script{Name: "state", Args: Arguments{}.
			Flag("cluster", pulumi.String(c.Name)).
			Flag("volume", node.StateVolume.VolumeId)},
		Minutes: 20,
	}, parent, deletedWithMachine, component.DependsOn(prepared, node.StateVolume))
	if err != nil {
		return nil, err
	}

	configuration := pulumi.All(node.PrivateIP, node.PublicIP, node.ProviderID()).ApplyT(func(values []any) (string, error) {
		kubeadm, err := initConfiguration(c, node, values[0].(string), values[1].(string), values[2].(string))
		if err != nil {
			return "", err
		}
		return controlPlaneFiles(kubeadm)
	}).(pulumi.StringOutput)
	p.initialised, err = host.newCommand(ctx, "init-"+name, &CommandArgs{
		Create: Script{Name: "init", Runs: []string{"upgrade-control-plane", "prepare"}, Args: Arguments{}.
			Flag("node", pulumi.String(node.Name)).
			Flag("address", node.PrivateIP).
			Flag("provider-id", node.ProviderID()).
			labelsAndTaints(node).
			Then(host.preparation(node, c))},
		Stdin: configuration, Minutes: 60,
	}, parent, deletedWithMachine, component.DependsOn(append(args.UpgradeAfter, state)...))
	if err != nil {
		return nil, err
	}

	kubeconfig, err := host.newCommand(ctx, "admin-kubeconfig", &CommandArgs{
		Create: Script{Name: "kubeconfig", Runs: []string{"certificates"}, Args: Arguments{}.
			Flag("server", args.Server).
			Flag("valid-until", pulumi.String(c.CertificatesValidUntil))},
		Stdin: outputKey(c.SSH, "kubeconfig"), Minutes: 10,
		Secret: true, // it contains the administrator's private key
	}, parent, deletedWithMachine, component.DependsOn(p.initialised),
		// The first encryption key stays even if the SSH key changes: a preview, which runs no script, must be able to
		// decrypt the output of the last run.
		pulumi.IgnoreChanges([]string{"stdin"}))
	if err != nil {
		return nil, err
	}
	decrypted := pulumi.All(kubeconfig.Stdout, kubeconfig.Stdin.Elem()).ApplyT(func(values []any) (string, error) {
		text, err := decrypt(values[0].(string), values[1].(string))
		if err != nil {
			return "", fmt.Errorf("decrypting the output of kubeconfig.sh: %w", err)
		}
		return text, nil
	}).(pulumi.StringOutput)
	p.Kubeconfig = pulumi.ToSecret(orPlaceholder(ctx, decrypted)).(pulumi.StringOutput)
	p.Expires = pulumi.Unsecret(p.Kubeconfig.ApplyT(expiry)).(pulumi.StringOutput)

	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"kubeconfig": p.Kubeconfig})
}

// orPlaceholder returns the kubeconfig, or placeholderKubeconfig if an update with --target or --exclude skips the
// command that prints it. In that case the engine treats the kubeconfig as unknown, as in a preview, and would store
// that in the state of the Kubernetes provider, which fails in the next update when it compares the two. ApplyT alone
// does not help, because it is not called for an unknown value.
func orPlaceholder(ctx *pulumi.Context, kubeconfig pulumi.StringOutput) pulumi.StringOutput {
	if ctx.DryRun() { // in a preview the output of a command that has not run yet is rightly unknown
		return kubeconfig
	}
	return pulumi.String("").ToStringOutput().ApplyT(func(string) (pulumi.StringOutput, error) {
		printed, err := internals.UnsafeAwaitOutput(ctx.Context(), kubeconfig)
		if err != nil || printed.Known {
			return kubeconfig, err
		}
		return pulumi.String(placeholderKubeconfig).ToStringOutput(), nil
	}).(pulumi.StringOutput)
}
