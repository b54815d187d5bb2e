package aws

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/plugin"
)

// told are machines that keep what they were told, and what of the account they saw.
type told struct {
	account   *Account
	ids       []string
	instances int
	err       error
}

func (m *told) Apply(_ context.Context, id string) error {
	m.ids = append(m.ids, id)
	list, err := m.account.Instances()
	m.instances = len(list)
	return errors.Join(err, m.err)
}

func newRealWorld(t *testing.T) (*world, *told) {
	w := newWorld(t)
	machines := &told{account: w.cloud.account}
	w.cloud.machines = machines
	return w, machines
}

func TestMachinesAreToldOfWhatMattersToThem(t *testing.T) {
	w, machines := newRealWorld(t)
	c := w.cluster()
	for _, m := range []made{c.vpc, c.group, c.node} {
		assert.Contains(t, machines.ids, m.id)
	}
	assert.NotContains(t, machines.ids, c.subnet.id)
	assert.NotContains(t, machines.ids, "", "an address that is nobody's is nobody's business")
	assert.Equal(t, 3, count(machines.ids, c.group.id)-1, "each rule concerns its group")
	assert.Equal(t, 2, count(machines.ids, c.node.id), "its address concerns the instance")

	machines.ids = nil
	_, err := w.update(c.node, in{"instanceType": "t3.small"})
	require.NoError(t, err)
	assert.Equal(t, []string{c.node.id}, machines.ids)
	require.NoError(t, w.delete(c.link))
	require.NoError(t, w.delete(c.node))
	assert.Zero(t, machines.instances, "they are told when the account has changed, not before")
	machines.ids = nil
	require.NoError(t, w.delete(c.node))
	assert.Equal(t, []string{c.node.id}, machines.ids, "of what is gone, too: the last delete may have been cut short")
}

func count(list []string, s string) int {
	return len(slices.DeleteFunc(slices.Clone(list), func(other string) bool { return other != s }))
}

func TestWhatTheMachinesCannotDoIsTheResourcesError(t *testing.T) {
	w, machines := newRealWorld(t)
	c := w.cluster()
	machines.err = errors.New("no room on this host")

	_, err := w.try(typInstance, "second", c.machine(nil))
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	assert.Equal(t, "creating EC2 Instance ("+partial.ID+"): no room on this host", partial.Reason)
	second := made{typInstance, "second", partial.ID, partial.Inputs, partial.Outputs}

	_, err = w.update(second, nil)
	require.ErrorAs(t, err, &partial)
	assert.Equal(t, second.id, partial.ID)
	require.ErrorContains(t, w.delete(second), "no room on this host")
	machines.err = nil
	require.NoError(t, w.delete(second), "the next delete finds nothing in the account, and ends the machine")
}

// The engine forgets what it was making when it is killed.
func TestWhatAKilledRunLeftIsReplaced(t *testing.T) {
	w, _ := newRealWorld(t)
	c := w.cluster()
	create := func(urn string) string {
		inputs, _ := w.check(typInstance, "redis", c.machine(nil))
		id, _, err := w.cloud.kind(typInstance).Create(t.Context(), &plugin.Request{
			URN: resource.URN(urn), Type: typInstance, Name: "redis", Inputs: inputs})
		require.NoError(t, err)
		return id
	}
	ids := func() (ids []string) {
		list, err := w.cloud.account.Instances()
		require.NoError(t, err)
		for _, i := range list {
			ids = append(ids, i.ID)
		}
		return ids
	}
	left, another := create("urn:a"), create("urn:b")
	again := create("urn:a")
	assert.ElementsMatch(t, []string{c.node.id, another, again}, ids(), "only %s is what nobody knows of", left)

	inputs, _ := w.check(typInstance, "redis", c.machine(nil))
	_, err := w.cloud.kind(typInstance).Diff(t.Context(), &plugin.Request{ID: again, Inputs: inputs, OldInputs: inputs})
	require.NoError(t, err)
	replacement := create("urn:a")
	assert.ElementsMatch(t, []string{c.node.id, another, again, replacement}, ids(), "what the engine knows, it deletes itself")
}
