package previewdiff

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Reasons that the engine gives, and reasons that are derived from the dependencies.
func TestWhy(t *testing.T) {
	const (
		a       = "urn:pulumi:dev::eco2::aws:ec2/instance:Instance::a"
		address = "urn:pulumi:dev::eco2::aws:ec2/eipAssociation:EipAssociation::a"
		prepare = "urn:pulumi:dev::eco2::command:remote:Command::prepare"
		join    = "urn:pulumi:dev::eco2::command:remote:Command::join"
	)
	moved := map[string]any{"op": "replace", "urn": a, "newState": map[string]any{}, "replaceReasons": []string{"subnetId"},
		"detailedDiff": map[string]any{"subnetId": kind("update-replace"), "instanceType": kind("update")}}
	with := func(urn string, more map[string]any) map[string]any {
		more["op"], more["urn"] = "replace", urn
		return more
	}
	for name, test := range map[string]struct {
		steps []map[string]any
		of    string
		want  string
	}{
		"a property": {[]map[string]any{moved}, a, "`subnetId` changes"},
		"several": {[]map[string]any{with(a, map[string]any{"newState": map[string]any{}, "detailedDiff": map[string]any{
			"f": kind("update-replace"), "e": kind("add-replace"), "d[0]": kind("delete-replace"), "c.x": kind("update-replace"), "b": kind("update-replace"), "a": kind("update-replace"),
		}})}, a, "`a` changes, `b` changes, `c.x` changes, `d[0]` changes, and 2 more properties"},
		"no detail": {[]map[string]any{with(a, map[string]any{"newState": map[string]any{}, "replaceReasons": []string{"name"}})}, a, "`name` changes"},
		"another's new id": {[]map[string]any{moved, with(address, map[string]any{
			"newState":     map[string]any{"propertyDependencies": map[string]any{"instanceId": []string{a}}},
			"detailedDiff": map[string]any{"instanceId": kind("update-replace")},
		})}, address, "`instanceId` comes from aws:ec2:Instance a, which is replaced"},
		"with another": {[]map[string]any{moved, with(prepare, map[string]any{"newState": map[string]any{"dependencies": []string{a}}})},
			prepare, "because aws:ec2:Instance a is replaced"},
		"with another of another": {[]map[string]any{moved,
			with(prepare, map[string]any{"oldState": map[string]any{"deletedWith": a}}),
			with(join, map[string]any{"newState": map[string]any{"dependencies": []string{prepare}}}),
		}, join, "because aws:ec2:Instance a is replaced"},
		"a circle": {[]map[string]any{
			with(prepare, map[string]any{"newState": map[string]any{"dependencies": []string{join}}}),
			with(join, map[string]any{"newState": map[string]any{"dependencies": []string{prepare}}}),
		}, join, "the engine gives no reason"},
		"a deletion": {[]map[string]any{{"op": "delete", "urn": a, "oldState": map[string]any{}}}, a, "no longer in the program"},
		"an update":  {[]map[string]any{{"op": "update", "urn": a, "oldState": map[string]any{}, "newState": map[string]any{}}}, a, ""},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(map[string]any{"steps": test.steps})
			require.NoError(t, err)
			p, err := readPlan(data)
			require.NoError(t, err)
			for _, change := range p.changes {
				if string(change.URN) == test.of {
					assert.Equal(t, test.want, change.Why)
					return
				}
			}
			assert.Fail(t, "not in the plan", test.of)
		})
	}
}

func kind(name string) map[string]any { return map[string]any{"kind": name} }

// A replacement that creates first and deletes later is one change, with one resource before and one after.
func TestAReplacementInThreeStepsIsOneChange(t *testing.T) {
	const a = "urn:pulumi:dev::eco2::aws:ec2/instance:Instance::a"
	state := map[string]any{"urn": a, "type": "aws:ec2/instance:Instance"}
	data, err := json.Marshal(map[string]any{"steps": []map[string]any{
		{"op": "create-replacement", "urn": a, "oldState": state, "newState": state},
		{"op": "replace", "urn": a, "oldState": state, "newState": state},
		{"op": "delete-replaced", "urn": a, "oldState": state},
	}})
	require.NoError(t, err)
	p, err := readPlan(data)
	require.NoError(t, err)
	require.Len(t, p.changes, 1)
	assert.Equal(t, "replace", p.changes[0].Op)
	assert.Len(t, p.before, 1)
	assert.Len(t, p.after, 1)
}
