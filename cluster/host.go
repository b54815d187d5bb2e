package cluster

import (
	"fmt"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
	"eco2/infra"
)

// Host is the control plane's machine, on which all scripts run, over SSH. Workers are reached from there.
type Host struct {
	node     *infra.Node
	ssh      config.SSH
	provider pulumi.ProviderResource
	mirror   config.Mirror
	// reachable is what the first connection waits for: the rule that admits it, and a way to the internet.
	reachable []pulumi.Resource
	// scripts is the command that installed the scripts; nil before, when they travel with each command.
	scripts *remote.Command
}

// A machine refuses connections until its sshd is up: with a pause of up to 5 s between tries, 40 tries
// are at least three minutes of refusals, and under ten of silence.
const (
	dialTries   = 40
	dialTimeout = 10 // seconds, for each try
)

// A delete must not hang on a machine that is gone: 6 tries of 5 s are half a minute.
const (
	deleteDialTries   = 6
	deleteDialTimeout = 5
)

func (h *Host) connection(tries, timeout int) remote.ConnectionArgs {
	return remote.ConnectionArgs{
		Host:           h.node.PublicIP,
		User:           pulumi.String(h.ssh.User),
		PrivateKey:     h.ssh.PrivateKey,
		DialErrorLimit: pulumi.Int(tries),
		PerDialTimeout: pulumi.Int(timeout),
	}
}

// Run declares a command that runs the script when it is created, and again when anything of it changes.
// A script that is for no machine in particular is for this one.
func (h *Host) Run(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	command, err := s.command(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	if s.For == nil {
		s.For = []*infra.Node{h.node}
	}
	return h.declare(ctx, name, s, remote.CommandArgs{Create: command, Connection: h.connection(dialTries, dialTimeout)}, opts...)
}

// RunOnDelete declares a command that runs the script when it is deleted, and nothing before.
func (h *Host) RunOnDelete(ctx *pulumi.Context, name string, s Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	command, err := s.command(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	return h.declare(ctx, name, s, remote.CommandArgs{Delete: command, Connection: h.connection(deleteDialTries, deleteDialTimeout)}, opts...)
}

// RunAndUndo declares a command that runs one script when it is created or changed, and another when it is deleted.
// Both have the connection that suits the delete, so it is for what comes after another command on the machine. The
// data, the machines and the time limit are those of the first.
func (h *Host) RunAndUndo(ctx *pulumi.Context, name string, s, undo Script, opts ...pulumi.ResourceOption) (*remote.Command, error) {
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

func (h *Host) declare(ctx *pulumi.Context, name string, s Script, args remote.CommandArgs, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	stdin, err := s.stdin(h.scripts != nil)
	if err != nil {
		return nil, err
	}
	if stdin != nil {
		args.Stdin = stdin
	}
	var triggers pulumi.Array
	for _, node := range s.For {
		triggers = append(triggers, node.Instance.ID())
	}
	args.Triggers = triggers
	// It would be sent as an environment variable, which sshd refuses, with a warning for each command.
	args.AddPreviousOutputInEnv = pulumi.Bool(false)
	after := h.reachable
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

// mirrorFlag tells a script where to download from.
func (h *Host) mirrorFlag() []pulumi.StringInput {
	return Flag("files-mirror", pulumi.String(h.mirror.Files))
}

// prepare installs what a node needs before kubeadm can run on it.
func (h *Host) prepare(ctx *pulumi.Context, node *infra.Node, v config.Versions, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	s := Script{Name: "prepare", Args: flags(
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
		// What is installed on a machine goes with the machine.
		pulumi.DeletedWith(node.Instance))...)
}

// relay is the script's run on a worker.
func (h *Host) relay(worker *infra.Node, s Script) Script {
	return Script{Name: "relay", Relays: s.Name, Args: flags(
		Flag("node", pulumi.String(worker.Name)),
		Flag("address", worker.PrivateIP),
		Flag("user", pulumi.String(h.ssh.User)),
		Flag("provider-id", worker.ProviderID()),
		Flag("script", pulumi.String(s.Name)),
		[]pulumi.StringInput{pulumi.String("--")},
		s.Args,
	), Data: h.ssh.PrivateKey, Minutes: s.Minutes, For: []*infra.Node{worker}}
}

// install puts the scripts on the machine, from where all later commands run them.
func (h *Host) install(ctx *pulumi.Context, opts ...pulumi.ResourceOption) error {
	all, err := installed()
	if err != nil {
		return err
	}
	h.scripts, err = h.Run(ctx, "scripts", Script{Name: "install", Data: pulumi.String(all), Minutes: 10}, opts...)
	return err
}
