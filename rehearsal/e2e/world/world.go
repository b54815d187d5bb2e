// Package world helps to test the whole program with the real engine. A World is a stack in its own state
// directory, whose settings a test may change. It shows what the engine would do and what it has done.
package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

// repo is the checkout of the whole repository, relative to a package of the rehearsal.
const repo = "../../.."

// Tools builds the programs that the tests run, into the state directory of the checkout.
func Tools(ctx context.Context) (toolchain.Toolchain, error) {
	absolute, err := filepath.Abs(repo)
	if err != nil {
		return toolchain.Toolchain{}, err
	}
	state := filepath.Join(absolute, ".rehearsal")
	tools, err := toolchain.BuildTools(ctx, absolute, state, os.Stderr)
	if err != nil {
		return tools, err
	}
	tools.Home, err = homeWithoutLogs(tools.Home, filepath.Join(state, "pulumi-without-logs"))
	return tools, err
}

// homeWithoutLogs makes a home for the engine in dir, with the plugins of another home, in which the engine writes no
// logs.
//
// By default the engine logs everything at the finest level, which is a third of its work in a preview. No setting
// turns that off, but the engine works without logs if it cannot create their directory, so a file with the directory's
// name is in its place. Tests that search the logs for secrets use OwnHome.
func homeWithoutLogs(home, dir string) (string, error) {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "logs"), nil, 0o600)
	}
	if err == nil {
		err = os.Symlink(filepath.Join("..", filepath.Base(home), "plugins"), filepath.Join(dir, "plugins"))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("making an engine's home without logs: %w", err)
	}
	return dir, nil
}

// World is one state directory with one stack in it.
type World struct {
	// Dir is the state directory, Name the stack's name.
	Dir, Name string
	// Options may be changed at any time; the next command uses them.
	Options stack.Options
	// Tools may be changed too: another program stands for another commit.
	Tools toolchain.Toolchain

	t *testing.T
	// seen is how many calls of the trace Changes has returned already.
	seen int
}

// New returns a world in which nothing exists in AWS yet. Its stack has the settings of a committed stack file:
// settingsOf's, or if that is empty its own.
func New(t *testing.T, tools toolchain.Toolchain, name, settingsOf string) *World {
	t.Helper()
	absolute, err := filepath.Abs(repo)
	require.NoError(t, err)
	dir := t.TempDir()
	return &World{t: t, Tools: tools, Dir: dir, Name: name, Options: stack.Options{
		Repo: absolute, StateDir: dir, SettingsOf: settingsOf, Config: map[string]any{},
	}}
}

// Open returns the stack with the world's current settings.
func (w *World) Open() *stack.Stack {
	w.t.Helper()
	s, err := stack.Open(w.t.Context(), w.Name, w.Tools, w.Options)
	require.NoError(w.t, err)
	return s
}

// Pulumi runs the pulumi command on the stack, and returns what it printed.
func (w *World) Pulumi(args ...string) (string, error) {
	w.t.Helper()
	return w.Open().Output(w.t.Context(), append(args, "--stack", w.Name)...)
}

func (w *World) operation(name string, more ...string) (string, error) {
	w.t.Helper()
	s := w.Open()
	return s.Output(w.t.Context(), s.Operation(name, more...)...)
}

// Up brings the stack up.
func (w *World) Up(more ...string) (string, error) { return w.operation("up", more...) }

// Destroy destroys the stack's resources.
func (w *World) Destroy() (string, error) { return w.operation("destroy") }

// Must fails the test with a command's output if the command failed, and returns the output otherwise.
func (w *World) Must(output string, err error) string {
	w.t.Helper()
	require.NoError(w.t, err, output)
	return output
}

// Steps returns the steps of a preview, sorted and without unchanged resources:
// "replace aws:ec2/instance:Instance k8s-redis".
func (w *World) Steps(more ...string) []string {
	w.t.Helper()
	s := w.Open()
	cmd := s.Command(w.t.Context(), append(s.Operation("preview", "--json"), more...)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	data, err := cmd.Output()
	require.NoError(w.t, err, "%s%s", data, problems.String())
	var preview struct {
		Steps []struct {
			Op  string
			URN resource.URN
		}
	}
	require.NoError(w.t, json.Unmarshal(data, &preview), string(data))
	var steps []string
	for _, step := range preview.Steps {
		if step.Op != "same" && step.URN.Type() != resource.RootStackType {
			steps = append(steps, fmt.Sprintf("%s %s %s", step.Op, step.URN.Type(), step.URN.Name()))
		}
	}
	slices.Sort(steps)
	return slices.Compact(steps)
}

// Changes returns the calls that changed something, since it was last called: "Delete command:remote:Command sweep".
func (w *World) Changes() []string {
	w.t.Helper()
	calls, err := plugin.ReadTrace(w.Dir)
	require.NoError(w.t, err)
	var changes []string
	for _, call := range calls[w.seen:] {
		if (call.Method == "Create" || call.Method == "Update" || call.Method == "Delete") && !call.Preview {
			changes = append(changes, fmt.Sprintf("%s %s %s", call.Method, call.Type, resource.URN(call.URN).Name()))
		}
	}
	w.seen = len(calls)
	return changes
}

// InOrder checks that changes contain these names in this order.
func (w *World) InOrder(changes []string, names ...string) {
	w.t.Helper()
	at := -1
	for _, name := range names {
		next := slices.Index(changes, name)
		require.Greater(w.t, next, at, "%s in %v", name, changes)
		at = next
	}
}

// InCluster returns the changes that were made to machines or to the cluster, not to AWS.
func InCluster(changes []string) []string {
	var found []string
	for _, change := range changes {
		if !strings.Contains(change, " aws:") {
			found = append(found, change)
		}
	}
	return found
}

// Hosts returns the simulated machines.
func (w *World) Hosts() *simulated.Hosts {
	w.t.Helper()
	simulated, err := simulated.New(w.Dir, simulated.OpenAccount(w.Dir))
	require.NoError(w.t, err)
	return simulated.At(setup.Latency(w.Options.Latency))
}

// Cluster returns the model of the cluster. It fails the test unless exactly one runs.
func (w *World) Cluster() *model.Cluster {
	w.t.Helper()
	running, err := w.Hosts().Clusters()
	require.NoError(w.t, err)
	require.Len(w.t, running, 1)
	return running[0].Cluster
}

// Inventory runs the models of the controllers, and returns what the model of AWS then has.
func (w *World) Inventory() aws.Inventory {
	w.t.Helper()
	if w.Options.Level != setup.Rehearse {
		require.NoError(w.t, w.Hosts().Settle())
	}
	inventory, err := aws.Open(w.Dir).Inventory()
	require.NoError(w.t, err)
	return inventory
}

// URN returns the URN of a resource in the stack's state, by its type and name.
func (w *World) URN(typ, name string) string {
	w.t.Helper()
	var exported struct {
		Deployment struct{ Resources []struct{ URN resource.URN } }
	}
	require.NoError(w.t, json.Unmarshal([]byte(w.Must(w.Pulumi("stack", "export"))), &exported))
	for _, r := range exported.Deployment.Resources {
		if string(r.URN.Type()) == typ && r.URN.Name() == name {
			return string(r.URN)
		}
	}
	require.Failf(w.t, "missing resource", "the state has no %s named %s", typ, name)
	return ""
}

// PrivateKey returns the throw-away SSH key of this world.
func (w *World) PrivateKey() string {
	w.t.Helper()
	values, err := readThrowAway(w.Dir)
	require.NoError(w.t, err)
	return values.PrivateKey
}
