package simulated

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// older changes a state to that of an older program, and returns it as text, with the steps that the current program
// plans for it.
type older func(t *testing.T, state map[string]any) (text string, steps []string)

// An update of a stack that an older program brought up replaces no machine and drains no node.
func TestAStateOfAnOlderProgram(t *testing.T) {
	for name, older := range map[string]older{
		"infrastructure, cluster and platform were no components":   withoutLayers,
		"machines were components, and a worker's leave a resource": withMachineComponents,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldUp(t)
			before := members(t, w)
			text, steps := older(t, exportState(t, w))
			importState(t, w, text)

			assert.ElementsMatch(t, steps, w.Steps())
			w.Changes()
			w.Must(w.Up())
			for _, change := range w.Changes() {
				assert.Contains(t, change, "Update command:remote:Command member-")
			}
			assert.Equal(t, before, members(t, w))
			assert.Empty(t, w.Steps())
			w.Must(w.Destroy())
			assert.Empty(t, w.Inventory())
		})
	}
}

// A stack whose machines all have the control plane's role gets the one of the workers in place. No machine is replaced,
// and nothing of the role that the controllers use changes.
func TestWorkersGetARoleOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	current := w.Tools.Program
	w.Tools.Program = w.ProgramWith("infra/infra.go", w.Replace(
		`newControlPlaneRole(ctx, "control-plane",`, `newControlPlaneRole(ctx, "node",`,
		`newWorkerRole(ctx, "worker", &workerRoleArgs{ClusterName: c.Name}, child)`, `controlPlaneRole, error(nil)`))
	w.Must(w.Up())
	before := members(t, w)
	w.Tools.Program = current
	w.Changes()
	w.Must(w.Up())

	want := []string{
		"Create aws:iam/instanceProfile:InstanceProfile worker", "Create aws:iam/role:Role worker",
		"Create aws:iam/rolePolicy:RolePolicy worker-session-manager",
	}
	for name := range before {
		if name != "k8s-master" {
			want = append(want, "Update aws:ec2/instance:Instance "+name)
		}
	}
	assert.ElementsMatch(t, want, w.Changes())
	assert.Equal(t, before, members(t, w))
	assert.Empty(t, w.Steps())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

const olderPrefix = "urn:pulumi:dev::eco2::"

// olderRole matches the control plane's role and what belongs to it, which was "node" when there was only one role.
var olderRole = regexp.MustCompile(`(aws:iam/\w+:\w+|eco2:infra:NodeRole)::control-plane`)

// withoutLayers removes the components that contain all other resources.
func withoutLayers(t *testing.T, state map[string]any) (text string, steps []string) {
	t.Helper()
	layer := regexp.MustCompile(`^eco2:(infra:Infra|cluster:Cluster|platform:\w+)$`)
	removed := map[any]bool{}
	deployment := state["deployment"].(map[string]any)
	var kept []any
	var stack any
	for _, resource := range deployment["resources"].([]any) {
		r := resource.(map[string]any)
		switch typ := r["type"].(string); {
		case typ == "pulumi:pulumi:Stack":
			stack = r["urn"]
		case layer.MatchString(typ):
			removed[r["urn"]] = true
			_, name, _ := strings.Cut(strings.TrimPrefix(r["urn"].(string), olderPrefix), "::")
			steps = append(steps, "create "+typ+" "+name)
			continue
		}
		if removed[r["parent"]] {
			r["parent"] = stack
		}
		kept = append(kept, r)
	}
	deployment["resources"] = kept
	data, err := json.Marshal(state)
	require.NoError(t, err)
	text = regexp.MustCompile(`eco2:(infra:Infra|cluster:Cluster|platform:\w+)\$`).ReplaceAllString(string(data), "")
	return olderRole.ReplaceAllString(text, "${1}::node"), steps
}

// withMachineComponents returns a state that is older still.
func withMachineComponents(t *testing.T, state map[string]any) (text string, steps []string) {
	t.Helper()
	text, steps = withoutLayers(t, state)
	state = nil
	require.NoError(t, json.Unmarshal([]byte(text), &state))
	machine := regexp.MustCompile(regexp.QuoteMeta(olderPrefix) + `aws:ec2/(?:instance:Instance|eip:Eip|eipAssociation:EipAssociation)::`)
	deployment := state["deployment"].(map[string]any)
	var resources []any
	updates := 0
	for _, resource := range deployment["resources"].([]any) {
		r := resource.(map[string]any)
		urn := r["urn"].(string)
		_, name, _ := strings.Cut(strings.TrimPrefix(urn, olderPrefix), "::")
		switch {
		case machine.MatchString(urn):
			parent := olderPrefix + "eco2:infra:Node::" + name
			if step := "delete eco2:infra:Node " + name; !slices.Contains(steps, step) { // insert the parent before its children
				steps = append(steps, step)
				resources = append(resources, map[string]any{"urn": parent, "custom": false, "type": "eco2:infra:Node", "parent": r["parent"]})
			}
			r["parent"] = parent
		case strings.HasPrefix(name, "member-"):
			updates++
			steps = append(steps, "update command:remote:Command "+name)
			for _, properties := range []string{"inputs", "outputs"} {
				delete(r[properties].(map[string]any), "create")
				delete(r[properties].(map[string]any), "stdin")
			}
		}
		resources = append(resources, r)
	}
	require.Equal(t, 13, updates)
	deployment["resources"] = resources
	data, err := json.Marshal(state)
	require.NoError(t, err)
	text = strings.ReplaceAll(string(data), "Command::member-", "Command::leave-")
	return machine.ReplaceAllStringFunc(text, func(urn string) string {
		return olderPrefix + "eco2:infra:Node$" + strings.TrimPrefix(urn, olderPrefix)
	}), steps
}

// A machine that made its own host key at its first boot keeps working, and its successor has one that is known.
func TestMachinesWithoutAKnownHostKey(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	importState(t, w, withoutHostKeys(t, exportState(t, w, "--show-secrets")))
	assert.Empty(t, w.Steps())
	w.Must(w.Up("--replace", w.URN("aws:ec2/instance:Instance", "k8s-redis")))
	assert.Empty(t, w.Steps())
	for _, resource := range exportState(t, w)["deployment"].(map[string]any)["resources"].([]any) {
		r := resource.(map[string]any)
		inputs, _ := r["inputs"].(map[string]any)
		create, _ := inputs["create"].(string)
		if !strings.Contains(create, "--host-key ") {
			continue
		}
		known := strings.Contains(create, "--host-key 'ssh-ed25519 ")
		assert.Equal(t, strings.Contains(create, "--node k8s-redis "), known, create)
	}
}

// withoutHostKeys returns a state as it would be if the machines' user data had contained no host key, so that no
// connection required one.
func withoutHostKeys(t *testing.T, state map[string]any) string {
	t.Helper()
	var change func(value any)
	change = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				change(element)
			}
		case map[string]any:
			delete(value, "SSHHostKey") // the tag
			for key, element := range value {
				switch text, ok := element.(string); {
				case !ok:
					change(element)
				case key == "create":
					value[key] = regexp.MustCompile(`--host-key 'ssh-ed25519 [^']+'`).ReplaceAllString(text, "--host-key ''")
				case key == "plaintext": // of a connection, which is a secret
					value[key] = regexp.MustCompile(`"hostKey":"[^"]*",`).ReplaceAllString(text, "")
				}
			}
		}
	}
	change(state)
	data, err := json.Marshal(state)
	require.NoError(t, err)
	require.NotContains(t, string(data), "hostKey")
	require.NotContains(t, string(data), "--host-key 'ssh")
	return string(data)
}
