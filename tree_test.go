package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTreeOfResourcesGolden compares the tree in docs/architecture.md with the components that dev declares. `make
// golden` writes it again.
func TestTreeOfResourcesGolden(t *testing.T) {
	const document = "docs/architecture.md"
	g := mustRun(t, "dev")
	got := "eco2-dev\n" + renderTree(g, "")
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), "```\neco2-dev\n")
	require.True(t, found, "%s has no tree", document)
	old, after, _ := strings.Cut(rest, "```\n")
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(before+"```\n"+got+"```\n"+after), 0o644))
		return
	}
	assert.Equal(t, "eco2-dev\n"+old, got,
		"the tree of %s changed; if that is intended: go test -run Golden -update . (and read the diff)", document)
}

// renderTree returns the children of a parent: on the first line its resources, which are counted by type except that
// commands are named, and then its components. All workers share one.
func renderTree(g *graph, parent resource.URN) string {
	var commands, own, components []string
	counts := map[string]int{}
	for _, r := range g.resources {
		if r.Parent != parent {
			continue
		}
		switch {
		case r.RPC.GetCustom() && r.Type == commandType:
			commands = append(commands, r.Name)
		case r.RPC.GetCustom():
			counts[shortType(r.Type)]++
		default:
			component := shortType(r.Type) + " " + r.Name + "\n" + renderTree(g, resource.URN(r.URN))
			if r.Type == "eco2:cluster:Worker" {
				component = strings.ReplaceAll(component, r.Name, "*")
			}
			if counts[component]++; counts[component] == 1 {
				components = append(components, component)
			}
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(counts)) {
		if !strings.Contains(typ, "\n") {
			own = append(own, counted(counts[typ], typ))
		}
	}
	if len(commands) > 0 {
		slices.Sort(commands)
		own = append(own, "commands "+strings.Join(commands, ", "))
	}
	var entries []string
	if len(own) > 0 {
		entries = append(entries, strings.Join(own, "; "))
	}
	for _, component := range components {
		entries = append(entries, counted(counts[component], component))
	}
	var b strings.Builder
	for i, entry := range entries {
		branch, below := "├─ ", "│  "
		if i == len(entries)-1 {
			branch, below = "└─ ", "   "
		}
		head, rest, _ := strings.Cut(entry, "\n")
		b.WriteString(branch + head + "\n")
		for line := range strings.Lines(rest) {
			b.WriteString(below + line)
		}
	}
	return b.String()
}

// counted puts a number above one before a text.
func counted(n int, text string) string {
	if n < 2 {
		return text
	}
	return fmt.Sprintf("%d %s", n, text)
}

// shortType returns the last part of a type: "Instance" for "aws:ec2/instance:Instance", "provider aws" for a provider.
func shortType(typ string) string {
	short := typ[strings.LastIndex(typ, ":")+1:]
	if strings.HasPrefix(typ, "pulumi:providers:") {
		return "provider " + short
	}
	return short
}
