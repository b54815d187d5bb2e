// Package remote models the pulumi-command provider: commands that run on a machine over SSH when their resource is
// created, changed or deleted. It has two transports, real SSH and the machines of package simulated, between
// which the engine sees no difference.
package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

// Name and Version identify the pulumi-command package, as the program's SDK registers it.
const (
	Name    = "command"
	Version = "1.2.1"
)

// New returns a model of the provider that runs its commands through a transport. It supports remote commands only:
// the program runs no local commands and copies no files.
func New(host Host) plugin.Provider {
	return plugin.Provider{
		Name: Name, Version: Version,
		Configure: func(_ context.Context, inputs resource.PropertyMap) error {
			return plugin.CheckConfiguration(Name, inputs) // the provider has no inputs
		},
		Kinds: func(typ string) plugin.Kind {
			if typ == "command:remote:Command" {
				return remote{host}
			}
			return nil
		},
	}
}

// remote implements plugin.Kind for command:remote:Command.
type remote struct{ host Host }

func (k remote) Check(_ context.Context, r *plugin.Request) (resource.PropertyMap, []plugin.Failure) {
	return check(r.Inputs)
}

// Diff reports a changed trigger as a replacement, whose create runs before the old resource's delete unless the
// program sets deleteBeforeReplace. Any other changed input is an update, which runs a command.
func (k remote) Diff(_ context.Context, r *plugin.Request) (plugin.Diff, error) {
	return plugin.Compare(r.OldInputs, r.Inputs, func(property string) bool { return property == "triggers" }), nil
}

func (k remote) Create(ctx context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	out := r.Inputs.Copy()
	if r.Preview {
		out["stdout"] = resource.MakeComputed(resource.NewProperty(""))
		out["stderr"] = resource.MakeComputed(resource.NewProperty(""))
		return "", out, nil
	}
	// A failed create leaves nothing in the state, so the next pulumi up runs the whole command again.
	stdout, stderr, err := k.run(ctx, r, r.Inputs, "create")
	if err != nil {
		return "", nil, err
	}
	out["stdout"], out["stderr"] = resource.NewProperty(stdout), resource.NewProperty(stderr)
	return newID(), out, nil
}

// Read returns the state unchanged, because nobody can look up a command that ran.
func (k remote) Read(_ context.Context, r *plugin.Request) (string, resource.PropertyMap, error) {
	return r.ID, r.State, nil
}

// Update runs the command in update, or the one in create if update is not set. A preview returns the last run's
// outputs.
func (k remote) Update(ctx context.Context, r *plugin.Request) (resource.PropertyMap, error) {
	out := r.Inputs.Copy()
	for _, key := range []resource.PropertyKey{"stdout", "stderr"} {
		if old, ok := r.State[key]; ok {
			out[key] = old
		}
	}
	if r.Preview {
		return out, nil
	}
	which := resource.PropertyKey("update")
	if plugin.Text(r.Inputs["update"]) == "" {
		which = "create"
	}
	stdout, stderr, err := k.run(ctx, r, r.Inputs, which)
	if err != nil {
		return nil, err
	}
	out["stdout"], out["stderr"] = resource.NewProperty(stdout), resource.NewProperty(stderr)
	return out, nil
}

// Delete runs the delete command of the last successful run, with its connection and standard input.
func (k remote) Delete(ctx context.Context, r *plugin.Request) error {
	inputs := r.OldInputs
	if len(inputs) == 0 {
		inputs = r.State // some engines send no old inputs; the outputs contain them
	}
	_, _, err := k.run(ctx, r, inputs, "delete")
	return err
}

// run runs the command in a property, if it is set, and returns the command's output.
func (k remote) run(ctx context.Context, r *plugin.Request, inputs resource.PropertyMap, which resource.PropertyKey) (stdout, stderr string, err error) {
	line := plugin.Text(inputs[which])
	if line == "" {
		return "", "", nil
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	connection, err := connectionOf(inputs["connection"])
	if err != nil {
		return "", "", err
	}
	// As a status, which the display replaces by the next line and does not repeat at the end. If the command fails, its
	// error has the whole output.
	out := newOutput(plugin.Text(inputs["logging"]), func(line string) { r.Status(ctx, line) })
	status, err := k.host.Run(ctx, Session{
		Connection:  connection,
		Command:     line,
		Stdin:       plugin.Text(inputs["stdin"]),
		Environment: environment(inputs, r.State),
		Stdout:      out.stdout, Stderr: out.stderr,
		Status: func(line string) { r.Status(ctx, line) },
		Warn:   func(line string) { r.Log(ctx, "warning: "+line) },
	})
	out.flush()
	if err == nil && status != 0 {
		err = fmt.Errorf("Process exited with status %d", status) //nolint:staticcheck // the SSH library's own words
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("the resource's time limit of %s has passed: %w", r.Timeout, err)
	}
	var unreachable *UnreachableError
	if errors.As(err, &unreachable) {
		return "", "", err // nothing was run
	}
	if err != nil {
		// Like upstream, quote the whole command and all of its output. So neither may contain a secret.
		return "", "", fmt.Errorf("%w: running %q:\n%s", err, line, out.both())
	}
	return out.stdout.text(), out.stderr.text(), nil
}
