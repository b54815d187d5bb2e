package plugin

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
)

func TestCompare(t *testing.T) {
	before := resource.NewPropertyMapFromMap(map[string]any{
		"name": "a", "size": 1, "tags": map[string]any{"x": "1", "kubernetes.io/role": "node"}, "zones": []any{"a", "b"},
	})
	after := resource.NewPropertyMapFromMap(map[string]any{
		"name": "b", "tags": map[string]any{"x": "1", "kubernetes.io/role": "none", "y": "2"}, "zones": []any{"a", "c", "d"},
	})
	diff := Compare(before, after, func(property string) bool { return property == "name" })
	assert.Equal(t, map[string]Change{
		"name":                       {Op: Updated, Replaces: true},
		"size":                       {Op: Deleted},
		`tags["kubernetes.io/role"]`: {Op: Updated},
		"tags.y":                     {Op: Added},
		"zones[1]":                   {Op: Updated},
		"zones[2]":                   {Op: Added},
	}, diff.Changed)
	response := diff.response()
	assert.Equal(t, []string{"name"}, response.Replaces)
	assert.Equal(t, []string{"name", "size", "tags", "zones"}, response.Diffs)
	assert.Empty(t, Compare(before, before, nil).Changed)
}

func TestCovers(t *testing.T) {
	assert.True(t, covers("tags", "tags"))
	assert.True(t, covers("tags", "tags.x"))
	assert.True(t, covers("tags", `tags["a.b"]`))
	assert.False(t, covers("tags", "tagsAll"))
	assert.False(t, covers("tags.x", "tags"))
}
