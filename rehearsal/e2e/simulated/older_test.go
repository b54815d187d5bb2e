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

// In the state of an older program, a worker's leave was a resource of its own, and each machine had a component as its
// parent. An update with the current program replaces no machine and drains no node.
func TestAStateOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	const remote = "command:remote:Command"
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	before := members(t, w)

	const prefix = "urn:pulumi:dev::eco2::"
	machine := regexp.MustCompile(regexp.QuoteMeta(prefix) + `aws:ec2/(?:instance:Instance|eip:Eip|eipAssociation:EipAssociation)::`)
	exported := exportState(t, w)
	deployment := exported["deployment"].(map[string]any)
	var resources []any
	var updated, deleted []string
	for _, resource := range deployment["resources"].([]any) {
		r := resource.(map[string]any)
		urn := r["urn"].(string)
		_, name, _ := strings.Cut(strings.TrimPrefix(urn, prefix), "::")
		switch {
		case machine.MatchString(urn):
			if step := "delete eco2:infra:Node " + name; !slices.Contains(deleted, step) { // insert the parent before its children
				deleted = append(deleted, step)
				resources = append(resources, map[string]any{"urn": prefix + "eco2:infra:Node::" + name, "custom": false, "type": "eco2:infra:Node", "parent": r["parent"]})
			}
			r["parent"] = prefix + "eco2:infra:Node::" + name
		case strings.HasPrefix(name, "member-"):
			updated = append(updated, "update "+remote+" "+name)
			for _, properties := range []string{"inputs", "outputs"} {
				delete(r[properties].(map[string]any), "create")
				delete(r[properties].(map[string]any), "stdin")
			}
		}
		resources = append(resources, r)
	}
	deployment["resources"] = resources
	data, err := json.Marshal(exported)
	require.NoError(t, err)
	text := strings.ReplaceAll(string(data), "::member-", "::leave-")
	text = machine.ReplaceAllStringFunc(text, func(urn string) string {
		return prefix + "eco2:infra:Node$" + strings.TrimPrefix(urn, prefix)
	})
	importState(t, w, text)
	require.Len(t, updated, 13)

	assert.ElementsMatch(t, append(updated, deleted...), w.Steps())
	w.Changes()
	w.Must(w.Up())
	for _, change := range w.Changes() {
		assert.Contains(t, change, "Update "+remote+" member-")
	}
	assert.Equal(t, before, members(t, w))
	assert.Empty(t, w.Steps())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}
