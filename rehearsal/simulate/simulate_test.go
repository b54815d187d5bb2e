// Package simulate tests the whole program through the real engine: the pulumi command, the project's
// settings, and the models of AWS, hosts and Kubernetes.
package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/plugin"
	"eco2/rehearsal/stack"
	"eco2/rehearsal/toolchain"
)

// repo is the project's checkout, seen from this package.
const repo = "../.."

var tools toolchain.Toolchain

func TestMain(m *testing.M) {
	absolute, err := filepath.Abs(repo)
	if err == nil {
		tools, err = toolchain.Prepare(context.Background(), absolute, filepath.Join(absolute, ".rehearsal"), os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the rehearsal:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// world is one state directory with one stack in it.
type world struct {
	t       *testing.T
	dir     string
	name    string
	options stack.Options
	// seen is how many calls of the trace an earlier look has counted.
	seen int
}

// newWorld is empty: nothing exists in AWS. The stack has the settings of a committed stack file.
func newWorld(t *testing.T, name, settingsOf string) *world {
	t.Helper()
	absolute, err := filepath.Abs(repo)
	require.NoError(t, err)
	dir := t.TempDir()
	return &world{t: t, dir: dir, name: name, options: stack.Options{
		Repo: absolute, StateDir: dir, SettingsOf: settingsOf, Config: map[string]any{},
	}}
}

// open is the stack with the world's settings as they are now.
func (w *world) open() *stack.Stack {
	w.t.Helper()
	s, err := stack.Open(w.t.Context(), w.name, tools, w.options)
	require.NoError(w.t, err)
	return s
}

// pulumi runs the command on the stack and returns what it printed.
func (w *world) pulumi(args ...string) (string, error) {
	w.t.Helper()
	return w.open().Output(w.t.Context(), append(args, "--stack", w.name)...)
}

func (w *world) operation(name string, more ...string) (string, error) {
	w.t.Helper()
	s := w.open()
	return s.Output(w.t.Context(), s.Operation(name, more...)...)
}

func (w *world) up(more ...string) (string, error) { return w.operation("up", more...) }

func (w *world) destroy() (string, error) { return w.operation("destroy") }

// must fails the test with the command's own words.
func (w *world) must(output string, err error) string {
	w.t.Helper()
	require.NoError(w.t, err, output)
	return output
}

// steps are what a preview would do: "replace aws:ec2/instance:Instance k8s-redis", without what stays as
// it is.
func (w *world) steps() []string {
	w.t.Helper()
	s := w.open()
	cmd := s.Command(w.t.Context(), s.Operation("preview", "--json")...)
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

// changes are the calls since the last look that changed something: "Delete command:remote:Command sweep".
func (w *world) changes() []string {
	w.t.Helper()
	calls, err := plugin.ReadTrace(w.dir)
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

// inCluster are those of the changes that were made to machines or to the cluster, and not to AWS.
func inCluster(changes []string) []string {
	var found []string
	for _, change := range changes {
		if !strings.Contains(change, " aws:") {
			found = append(found, change)
		}
	}
	return found
}

func (w *world) inventory() aws.Inventory {
	w.t.Helper()
	inventory, err := aws.Open(w.dir).Inventory()
	require.NoError(w.t, err)
	return inventory
}

// urn is a resource's full name in the stack's state.
func (w *world) urn(typ, name string) string {
	w.t.Helper()
	var exported struct {
		Deployment struct{ Resources []struct{ URN resource.URN } }
	}
	require.NoError(w.t, json.Unmarshal([]byte(w.must(w.pulumi("stack", "export"))), &exported))
	for _, r := range exported.Deployment.Resources {
		if string(r.URN.Type()) == typ && r.URN.Name() == name {
			return string(r.URN)
		}
	}
	require.Failf(w.t, "missing resource", "the state has no %s named %s", typ, name)
	return ""
}

// privateKey is the throw-away key of this world.
func (w *world) privateKey() string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "throwaway.json"))
	require.NoError(w.t, err)
	var values struct{ PrivateKey string }
	require.NoError(w.t, json.Unmarshal(data, &values))
	return values.PrivateKey
}
