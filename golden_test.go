package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// TestGolden compares all resources that a stack declares with the golden file in testdata. The diff of that file shows
// what a change of the program changes in AWS and in the cluster. `go test -run Golden -update .` writes the new file;
// the reviewer reads the diff.
func TestGolden(t *testing.T) {
	for _, stack := range stacks {
		t.Run(stack, func(t *testing.T) {
			path := "testdata/" + stack + ".golden"
			got := render(mustRun(t, stack))
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				return
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, strings.Split(string(want), "\n"), strings.Split(got, "\n"),
				"the resources of %s changed; if that is intended: go test -run Golden -update . (and read the diff)", stack)
		})
	}
}

// scriptHash matches the hash of a script's text at the end of a command line.
var scriptHash = regexp.MustCompile(`\.sh@[0-9a-f]{8}`)

// render formats all resources for the golden file. It hides secrets and the scripts' texts and hashes.
func render(g *graph) string {
	var b strings.Builder
	for _, r := range g.resources {
		fmt.Fprintf(&b, "%s %s\n", r.Type, r.Name)
		option := func(name string, value any, set bool) {
			if set {
				fmt.Fprintf(&b, "  (%s: %v)\n", name, value)
			}
		}
		rpc := r.RPC
		option("deletedWith", r.deletedWith(), rpc.GetDeletedWith() != "")
		var with []string
		for _, urn := range rpc.GetReplaceWith() {
			with = append(with, nameOf(urn))
		}
		option("replaceWith", strings.Join(with, ", "), len(with) > 0)
		option("ignoreChanges", strings.Join(rpc.GetIgnoreChanges(), ", "), len(rpc.GetIgnoreChanges()) > 0)
		option("deleteBeforeReplace", true, rpc.GetDeleteBeforeReplace())
		option("protect", true, rpc.GetProtect())
		option("secretOutputs", strings.Join(rpc.GetAdditionalSecretOutputs(), ", "), len(rpc.GetAdditionalSecretOutputs()) > 0)
		limits := rpc.GetCustomTimeouts()
		option("create timeout", limits.GetCreate(), limits.GetCreate() != "")
		option("update timeout", limits.GetUpdate(), limits.GetUpdate() != "")
		option("delete timeout", limits.GetDelete(), limits.GetDelete() != "")
		renderMap(&b, "  ", r.Inputs)
	}
	return b.String()
}

func renderMap(b *strings.Builder, indent string, m resource.PropertyMap) {
	for _, key := range m.StableKeys() {
		renderValue(b, indent, string(key), m[key])
	}
}

func renderValue(b *strings.Builder, indent, key string, v resource.PropertyValue) {
	switch {
	case v.IsOutput() && v.OutputValue().Secret, v.IsSecret():
		fmt.Fprintf(b, "%s%s: [secret]\n", indent, key)
	case v.IsOutput():
		renderValue(b, indent, key, v.OutputValue().Element)
	case v.IsObject():
		fmt.Fprintf(b, "%s%s:\n", indent, key)
		renderMap(b, indent+"  ", v.ObjectValue())
	case v.IsArray():
		for i, element := range v.ArrayValue() {
			renderValue(b, indent, fmt.Sprintf("%s[%d]", key, i), element)
		}
	case v.IsString() && key == "stdin":
		// The scripts are separate files, so their changes are reviewed there.
		fmt.Fprintf(b, "%s%s: [script]\n", indent, key)
	case v.IsString():
		lines := strings.Split(strings.TrimRight(scriptHash.ReplaceAllString(readable(v.StringValue()), ".sh"), "\n"), "\n")
		fmt.Fprintf(b, "%s%s: %s\n", indent, key, strings.Join(lines, "\n"+indent+"  "))
	default:
		fmt.Fprintf(b, "%s%s: %v\n", indent, key, v.Mappable())
	}
}

// readable indents a JSON document, such as a policy, so that a diff shows what changed in it. It returns any other
// text unchanged.
func readable(text string) string {
	var spread bytes.Buffer
	if !strings.HasPrefix(text, "{") || json.Indent(&spread, []byte(text), "", "  ") != nil {
		return text
	}
	return spread.String()
}
