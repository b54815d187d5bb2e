package model

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/provider"
)

// A cluster that is set back has what it had then: no later objects, and all that were deleted since. Its id, by which
// clients know it, stays.
func TestAClusterIsSetBack(t *testing.T) {
	m := Open(t.TempDir())
	c, err := m.New("1.36.4")
	require.NoError(t, err)
	other, err := m.New("1.36.4")
	require.NoError(t, err)
	apply := func(c *Cluster, name string) {
		t.Helper()
		_, err := c.Apply(context.Background(), provider.Manifest{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": "default"},
		}, provider.ApplyOptions{Manager: "test"})
		require.NoError(t, err)
	}
	has := func(c *Cluster, name string) bool {
		t.Helper()
		_, err := c.Get(context.Background(), provider.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: "default", Name: name})
		if err != nil {
			require.ErrorIs(t, err, provider.ErrNotFound)
		}
		return err == nil
	}
	apply(c, "before")
	require.NoError(t, c.Register(Node{Name: "first"}))
	require.NoError(t, c.Save("snap-1"))
	apply(c, "after")
	apply(other, "elsewhere")
	require.NoError(t, c.Register(Node{Name: "second"}))

	for range 2 {
		require.NoError(t, c.Load("snap-1"))
		assert.True(t, has(c, "before"))
		assert.False(t, has(c, "after"))
		nodes, err := c.Nodes()
		require.NoError(t, err)
		require.Len(t, nodes, 1)
		info, err := c.Info()
		require.NoError(t, err)
		assert.Equal(t, c.ID(), info.ID)
		assert.True(t, has(other, "elsewhere"))
		apply(c, "after")
	}
	assert.ErrorContains(t, c.Load("snap-2"), "there is no such cluster")
}
