package cluster

import (
	"fmt"

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
	// inboundRules holds the security group's rules, on which the first connection depends. The route and the internet
	// gateway exist by then, because the instance depends on them.
	inboundRules []pulumi.Resource
	// scripts is the command that installs the scripts on the machine. While it is nil, each command sends its script
	// along.
	scripts *remote.Command
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
		Host:           h.node.PublicIP,
		User:           pulumi.String(h.ssh.User),
		PrivateKey:     h.ssh.PrivateKey,
		DialErrorLimit: pulumi.Int(tries),
		PerDialTimeout: pulumi.Int(timeout),
	}
}

// Run declares a command that runs the script when the command is created, and again when anything about it changes. If
// the script has no triggers, the host's machine is its trigger.
func (h *host) Run(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	command, err := s.command(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	if s.Triggers == nil {
		s.Triggers = []*infra.Node{h.node}
	}
	return h.declare(ctx, name, s, remote.CommandArgs{Create: command, Connection: h.connection(dialTries, dialTimeout)}, opts...)
}

// RunOnDelete declares a command that runs the script when the command is deleted, and does nothing before.
func (h *host) RunOnDelete(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	command, err := s.command(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	return h.declare(ctx, name, s, remote.CommandArgs{Delete: command, Connection: h.connection(deleteDialTries, deleteDialTimeout)}, opts...)
}

// RunAndUndo declares a command that runs s when the command is created or changed, and undo when it is deleted. The
// data, the triggers and the time limit of s apply to both. Both use the short connection limits of a delete, so it
// must only be used after another command has already connected to the machine.
func (h *host) RunAndUndo(ctx *pulumi.Context, name string, s, undo Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	create, err := s.command(true)
	if err != nil {
		return nil, err
	}
	remove, err := undo.command(true)
	if err != nil {
		return nil, err
	}
	return h.declare(ctx, name, s, remote.CommandArgs{
		Create: create, Delete: remove, Connection: h.connection(deleteDialTries, deleteDialTimeout),
	}, opts...)
}

func (h *host) declare(ctx *pulumi.Context, name string, s Script, args remote.CommandArgs, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	stdin, err := s.stdin(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	if stdin != nil {
		args.Stdin = stdin
	}
	var triggers pulumi.Array
	for _, node := range s.Triggers {
		triggers = append(triggers, node.Instance.ID())
	}
	args.Triggers = triggers
	// The provider would send the previous output as an environment variable, which sshd rejects with a warning for each
	// command.
	args.AddPreviousOutputInEnv = pulumi.Bool(false)
	after := h.inboundRules
	if h.scripts != nil {
		after = []pulumi.Resource{h.scripts}
	}
	limit := fmt.Sprintf("%dm", s.Minutes)
	opts = append([]pulumi.ResourceOption{
		pulumi.Provider(h.provider),
		pulumi.DependsOn(after),
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: limit, Update: limit, Delete: limit}), // see Script.Minutes
	}, opts...)
	if s.Secret {
		args.Logging = remote.LoggingNone
		opts = append(opts, pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}))
	}
	command, err := remote.NewCommand(ctx, name, &args, opts...)
	if err != nil {
		return nil, fmt.Errorf("declaring %s: %w", name, err)
	}
	return command, nil
}

// mirrorFlag returns the flag that tells a script where to download files from.
func (h *host) mirrorFlag() []pulumi.StringInput {
	return Flag("files-mirror", pulumi.String(h.mirror.Files))
}

// prepare declares the command that installs on a node what kubeadm requires.
func (h *host) prepare(ctx *pulumi.Context, node *infra.Node, v config.Versions, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	s := Script{Name: "prepare", Args: joinArgs(
		Flag("node", pulumi.String(node.Name)),
		Flag("kubernetes-version", pulumi.String(v.Kubernetes)),
		Flag("containerd-version", pulumi.String(v.Containerd)),
		Flag("pause-version", pulumi.String(v.Pause())),
		h.mirrorFlag(),
		Flag("images-mirror", pulumi.String(h.mirror.Images)),
	), Minutes: 20}
	if node != h.node {
		s = h.relay(node, s)
	}
	return h.Run(ctx, "prepare-"+node.Name, s, append(opts,
		// What is installed on a machine is deleted with the machine.
		pulumi.DeletedWith(node.Instance))...)
}

// relay returns the script that runs s on a worker, over SSH from the control plane.
func (h *host) relay(worker *infra.Node, s Script) Script {
	return Script{Name: "relay", Relays: s.Name, Args: joinArgs(
		Flag("node", pulumi.String(worker.Name)),
		Flag("address", worker.PrivateIP),
		Flag("user", pulumi.String(h.ssh.User)),
		Flag("provider-id", worker.ProviderID()),
		Flag("script", pulumi.String(s.Name)),
		[]pulumi.StringInput{pulumi.String("--")},
		s.Args,
	), Data: h.ssh.PrivateKey, Minutes: s.Minutes, Triggers: []*infra.Node{worker}}
}

// install declares the command that installs the scripts on the machine. All later commands run the installed scripts.
func (h *host) install(ctx *pulumi.Context, opts ...pulumi.ResourceOption) error {
	input, err := installInput()
	if err != nil {
		return err
	}
	h.scripts, err = h.Run(ctx, "scripts", Script{Name: "install", Data: pulumi.String(input), Minutes: 10}, opts...)
	return err
}
