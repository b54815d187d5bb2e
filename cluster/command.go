package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-command/sdk/go/command/remote"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/infra"
)

// CommandArgs describes a command that runs scripts on the control plane.
type CommandArgs struct {
	// Create runs when the command is created, and again when anything about it changes. If it is empty, nothing runs.
	Create Script
	// Delete runs when the command is deleted. If it is empty, nothing runs. A command that has it gives up soon if the
	// machine does not answer, in its Create too, so it must depend on another command that has reached the machine.
	Delete Script
	// Stdin is the scripts' standard input. It is nil if they read nothing.
	Stdin pulumi.StringInput
	// Minutes is the time limit of a run. Each script has its own time limits; this one is for a connection that breaks
	// unnoticed, because it has no keep-alive.
	Minutes int
	// Triggers holds the machines that a run applies to. If one of them is replaced, the command is replaced and the
	// script runs again: a new machine needs it even if it has the old one's address. By default, that is the control
	// plane's machine for a command with Create, and no machine for one with Delete alone.
	Triggers []*infra.Node
	// UpdateTrigger is the id of a machine. If it changes, the command is only updated: Create runs again, but unlike
	// with Triggers the command is not replaced, so Delete does not run.
	UpdateTrigger pulumi.StringInput
	// Secret hides the output in the display and encrypts it in the state. It does not hide it in the error of a run
	// that fails; a script with a secret result must encrypt it: see decrypt.
	Secret bool
}

// Script is a run of a file in scripts/.
//
// Inputs are arguments, except secrets, which belong in CommandArgs.Stdin: a command line appears in the message of a
// failing command and is visible to every user of the machine.
type Script struct {
	// Name is the file's name without .sh.
	Name string
	Args Arguments
	// Runs holds the names of the scripts that it runs.
	Runs []string
}

// Arguments holds a script's arguments.
type Arguments []pulumi.StringInput

// Flag returns the arguments with --name and its value added.
func (a Arguments) Flag(name string, value pulumi.StringInput) Arguments {
	return append(slices.Clip(a), pulumi.String("--"+name), value)
}

// Then returns the arguments followed by -- and those that the script passes on to another one.
func (a Arguments) Then(others Arguments) Arguments {
	return append(append(slices.Clip(a), pulumi.String("--")), others...)
}

// newCommand declares a command on the host. Its text, standard input, triggers and label are made here and nowhere
// else.
func (h *host) newCommand(ctx *pulumi.Context, name string, args *CommandArgs, opts ...pulumi.ResourceOption) (*remote.Command, error) {
	inputs := &remote.CommandArgs{
		// The provider would send the previous output as an environment variable, which sshd rejects with a warning for
		// each command.
		AddPreviousOutputInEnv: pulumi.Bool(false),
	}
	triggers := args.Triggers
	if args.Create.Name != "" {
		line, err := args.Create.line()
		if err != nil {
			return nil, err
		}
		if args.UpdateTrigger != nil {
			line = pulumi.Sprintf("%s on %s", line, args.UpdateTrigger)
		}
		inputs.Create, inputs.Connection = line, h.connection(dialTries, dialTimeout)
		if triggers == nil {
			triggers = []*infra.Node{h.node}
		}
	}
	if args.Delete.Name != "" {
		line, err := args.Delete.line()
		if err != nil {
			return nil, err
		}
		inputs.Delete, inputs.Connection = line, h.connection(deleteDialTries, deleteDialTimeout)
	}
	if args.Stdin != nil {
		inputs.Stdin = args.Stdin.ToStringOutput().ToStringPtrOutput()
	}
	ids := pulumi.Array{}
	for _, node := range triggers {
		ids = append(ids, node.Instance.ID())
	}
	inputs.Triggers = ids

	limit := fmt.Sprintf("%dm", args.Minutes)
	opts = append([]pulumi.ResourceOption{
		pulumi.Provider(h.provider),
		component.DependsOn(h.reachable),
		// Without it the provider would wait forever for a connection that broke unnoticed: see Minutes.
		pulumi.Timeouts(&pulumi.CustomTimeouts{Create: limit, Update: limit, Delete: limit}),
	}, opts...)
	if args.Secret {
		inputs.Logging = remote.LoggingNone
		opts = append(opts, pulumi.AdditionalSecretOutputs([]string{"stdout", "stderr"}))
	}
	command, err := remote.NewCommand(ctx, name, inputs, opts...)
	if err != nil {
		return nil, fmt.Errorf("declaring command %s: %w", name, err)
	}
	return command, nil
}

// line returns the command line for the machine's shell.
func (s Script) line() (pulumi.StringOutput, error) {
	label, err := s.label()
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	start := "sudo bash " + installDir + s.Name + ".sh"
	if s.Name == installer {
		start = "sudo bash -s --"
	}
	return pulumi.StringArray(s.Args).ToStringArrayOutput().ApplyT(func(args []string) string {
		words := []string{start}
		for _, arg := range args {
			words = append(words, quote(arg))
		}
		return strings.Join(append(words, label), " ")
	}).(pulumi.StringOutput), nil
}

// label returns the comment at the end of the command line. It contains the name and a hash of each script, so that a
// changed script runs again and that an error or a preview shows which scripts a command runs.
func (s Script) label() (string, error) {
	label := "#"
	for _, name := range append([]string{s.Name}, s.Runs...) {
		text, err := scriptText(name)
		if err != nil {
			return "", err
		}
		hash := sha256.Sum256([]byte(text))
		label += fmt.Sprintf(" %s.sh@%s", name, hex.EncodeToString(hash[:4]))
	}
	return label, nil
}

// plain matches values that a shell takes literally.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote quotes a value as one word for a POSIX shell.
func quote(value string) string {
	if plain.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
