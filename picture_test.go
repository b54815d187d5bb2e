package main

import (
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	picture = "docs/architecture.svg"
	// cardPitch is the distance between the left edges of two nodes' cards, cardWidth what a card takes of it.
	cardPitch, cardWidth = 125, 122
)

// pictureGroups are the groups of nodes below the control plane, by role, with the position of each one's first card.
var pictureGroups = []struct {
	role, title string
	x, y        int
}{
	{"api", "API domains", 64, 346},
	{"worker", "workers", 64, 424},
	{"infrastructure", "for data, messages and monitoring", 64 + 3*cardPitch, 424},
}

// card is a node in the picture, with the positions of its box and of its two lines of text.
type card struct {
	documentedNode
	X, Y, Middle, NameY, SpecY int
}

// TestArchitecturePictureGolden compares docs/architecture.svg with the nodes that dev declares, drawn by
// testdata/architecture.svg.tmpl. `make golden` draws it again.
func TestArchitecturePictureGolden(t *testing.T) {
	type group struct {
		Title     string
		X, LabelY int
		Nodes     []card
	}
	var drawing struct {
		ControlPlane []documentedNode
		Groups       []group
	}
	drawn := 0
	nodes := documentedNodes(t)
	for _, node := range nodes {
		if node.Role == "control-plane" {
			drawing.ControlPlane = append(drawing.ControlPlane, node)
			drawn++
		}
	}
	for _, from := range pictureGroups {
		g := group{Title: from.title, X: from.x, LabelY: from.y - 8}
		for _, node := range nodes {
			if node.Role == from.role {
				x := from.x + len(g.Nodes)*cardPitch
				g.Nodes = append(g.Nodes, card{node, x, from.y, x + cardWidth/2, from.y + 20, from.y + 36})
			}
		}
		drawn += len(g.Nodes)
		drawing.Groups = append(drawing.Groups, g)
	}
	require.Len(t, drawing.ControlPlane, 1)
	require.Equal(t, len(nodes), drawn, "each node has a role that the picture draws")

	tmpl, err := template.ParseFiles("testdata/architecture.svg.tmpl")
	require.NoError(t, err)
	var got strings.Builder
	require.NoError(t, tmpl.Execute(&got, drawing))
	if *update {
		require.NoError(t, os.WriteFile(picture, []byte(got.String()), 0o644))
		return
	}
	want, err := os.ReadFile(picture)
	require.NoError(t, err)
	assert.Equal(t, strings.Split(string(want), "\n"), strings.Split(got.String(), "\n"),
		"the picture of the nodes changed; if that is intended: go test -run Golden -update . (and look at %s)", picture)
}
