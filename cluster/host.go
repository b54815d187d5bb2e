package cluster

import (
	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
	"eco2/infra"
)

// host is the control plane's machine. All scripts run on it over SSH; workers are reached from there.
type host struct {
	node     *infra.Node
	ssh      config.SSH
	provider pulumi.ProviderResource
	mirror   config.Mirror
	// reachable makes every command wait until it can run: for the security group's rules, which allow the connection, and
	// after install for the command that installed the scripts. The route and the internet gateway exist by then, because
	// the instance depends on them.
	reachable pulumi.Resource
}

// A new machine refuses connections until its sshd is running. With a pause of up to 5 s between attempts, 40 attempts
// last at least three minutes if connections are refused, and less than ten if they time out.
const (
	dialTries   = 40
	dialTimeout = 10 // seconds per attempt
)

// A delete must not hang because a machine no longer exists: 6 attempts of 5 s take half a minute.
const (
	deleteDialTries   = 6
	deleteDialTimeout = 5
)

func (h *host) connection(tries, timeout int) remote.ConnectionArgs {
	return remote.ConnectionArgs{
		Host: h.node.PublicIP,
		// Without it the provider would send the secrets on standard input to whatever machine answers at this address.
		HostKey:        orNil(h.node.HostKey),
		User:           pulumi.String(h.ssh.User),
		PrivateKey:     h.ssh.PrivateKey,
		DialErrorLimit: pulumi.Int(tries),
		PerDialTimeout: pulumi.Int(timeout),
	}
}

// orNil returns a pointer to the text, or nil if it is empty.
func orNil(text pulumi.StringOutput) pulumi.StringPtrOutput {
	return text.ApplyT(func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}).(pulumi.StringPtrOutput)
}

// install declares the command that installs the scripts on the machine. All later commands run the installed scripts.
func (h *host) install(ctx *pulumi.Context, opts ...pulumi.ResourceOption) error {
	script, err := scriptText(installer)
	if err != nil {
		return err
	}
	scripts, err := installInput()
	if err != nil {
		return err
	}
	installed, err := h.newCommand(ctx, "scripts", &CommandArgs{
		Create: Script{Name: installer}, Stdin: pulumi.String(script + scripts), Minutes: 10,
	}, opts...)
	if err != nil {
		return err
	}
	h.reachable = installed
	return nil
}

// packages returns the arguments of prepare.sh that are the same for all nodes.
func (h *host) packages(c config.Config) Arguments {
	return Arguments{}.
		Flag("kubernetes-version", pulumi.String(c.Versions.Kubernetes)).
		Flag("containerd-version", pulumi.String(c.Versions.Containerd)).
		Flag("pause-version", pulumi.String(c.Versions.Pause())).
		Flag("kubernetes-key", pulumi.String(c.SigningKey("kubernetes"))).
		Flag("docker-key", pulumi.String(c.SigningKey("docker"))).
		Flag("files-mirror", pulumi.String(h.mirror.Files)).
		Flag("images-mirror", pulumi.String(h.mirror.Images))
}

// preparation returns the arguments of prepare.sh for a node.
func (h *host) preparation(node *infra.Node, c config.Config) Arguments {
	return append(Arguments{}.Flag("node", pulumi.String(node.Name)), h.packages(c)...)
}

// prepare declares the command that installs on a node what kubeadm requires.
func (h *host) prepare(ctx *pulumi.Context, node *infra.Node, c config.Config, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	args := &CommandArgs{Create: Script{Name: "prepare", Args: h.preparation(node, c)}, Minutes: 20}
	if node != h.node {
		args.Create = h.relay(node, args.Create)
		args.Stdin = h.ssh.PrivateKey
		args.Triggers = []*infra.Node{node}
	}
	return h.newCommand(ctx, "prepare-"+node.Name, args, append(opts,
		// What is installed on a machine is deleted with the machine.
		pulumi.DeletedWith(node.Instance))...)
}

// relay returns the script that runs s on a worker, over SSH from the control plane. It reads the private key from
// standard input.
func (h *host) relay(worker *infra.Node, s Script) Script {
	args := Arguments{}.
		Flag("node", pulumi.String(worker.Name)).
		Flag("address", worker.PrivateIP).
		Flag("host-key", worker.HostKey).
		Flag("user", pulumi.String(h.ssh.User)).
		Flag("provider-id", worker.ProviderID()).
		Flag("script", pulumi.String(s.Name))
	return Script{Name: "relay", Runs: []string{s.Name}, Args: args.Then(s.Args)}
}
