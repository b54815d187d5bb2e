package provider

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

// recordingMachines records the calls of Apply, and how many instances the account had at the last one.
type recordingMachines struct {
	account   *aws.Account
	ids       []string
	instances int
	err       error
}

func (m *recordingMachines) Apply(_ context.Context, id string) error {
	m.ids = append(m.ids, id)
	list, err := m.account.Instances()
	m.instances = len(list)
	return errors.Join(err, m.err)
}

func newWorldWithMachines(t *testing.T) (*world, *recordingMachines) {
	w := newWorld(t)
	machines := &recordingMachines{account: w.cloud.account}
	w.cloud.machines = machines
	return w, machines
}

func TestMachinesAreAppliedAfterRelevantChanges(t *testing.T) {
	w, machines := newWorldWithMachines(t)
	c := w.cluster()
	for _, m := range []made{c.vpc, c.group, c.node} {
		assert.Contains(t, machines.ids, m.id)
	}
	assert.NotContains(t, machines.ids, c.subnet.id)
	assert.NotContains(t, machines.ids, "", "an elastic address without an instance does not affect machines")
	assert.Equal(t, 3, count(machines.ids, c.group.id)-1, "each rule affects its group")
	assert.Equal(t, 2, count(machines.ids, c.node.id), "the elastic address affects its instance")

	machines.ids = nil
	_, err := w.update(c.node, in{"instanceType": "t3.small"})
	require.NoError(t, err)
	assert.Equal(t, []string{c.node.id}, machines.ids)
	require.NoError(t, w.delete(c.link))
	require.NoError(t, w.delete(c.node))
	assert.Zero(t, machines.instances, "Apply is called after the account has changed, not before")
	machines.ids = nil
	require.NoError(t, w.delete(c.node))
	assert.Equal(t, []string{c.node.id}, machines.ids, "also for an instance that no longer exists, as its last delete may have been interrupted")
}

func count(list []string, s string) int {
	return len(slices.DeleteFunc(slices.Clone(list), func(other string) bool { return other != s }))
}

func TestErrorsOfMachinesAreReturnedForTheResource(t *testing.T) {
	w, machines := newWorldWithMachines(t)
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
	require.NoError(t, w.delete(second), "the next delete finds nothing in the account, and still removes the machine")
}

// When the engine is killed, its state does not contain the objects that it was creating.
func TestObjectsAbandonedByAKilledRunAreReplaced(t *testing.T) {
	w, _ := newWorldWithMachines(t)
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
	assert.ElementsMatch(t, []string{c.node.id, another, again}, ids(), "only %s is in no state", left)

	inputs, _ := w.check(typInstance, "redis", c.machine(nil))
	_, err := w.cloud.kind(typInstance).Diff(t.Context(), &plugin.Request{ID: again, Inputs: inputs, OldInputs: inputs})
	require.NoError(t, err)
	replacement := create("urn:a")
	assert.ElementsMatch(t, []string{c.node.id, another, again, replacement}, ids(), "an object in the engine's state is left to the engine to delete")
}
