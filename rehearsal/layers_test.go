// Package rehearsal has only this test; the README describes the folders.
package rehearsal

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// layers are the folders from bottom to top. What is in a folder imports only what is in the same folder or below.
var layers = []string{"internal", "engine", "supply", "cloud", "cluster", "hosts", "standin", "e2e", "cmd"}

// A part of the rehearsal can be understood and tested without the folders above it. Tests may import those: supply's
// run upstream's programs against the model of AWS, for instance.
func TestImportsGoDown(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var order []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9]+)/` \\|").FindAllStringSubmatch(string(readme), -1) {
		order = append(order, row[1])
	}
	slices.Reverse(order)
	assert.Equal(t, layers, order, "the README lists the folders from top to bottom")
	imports := 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || path == "layers_test.go" {
			return err
		}
		at := slices.Index(layers, strings.Split(path, "/")[0])
		if !assert.NotEqual(t, -1, at, "%s is in none of the folders %s", path, layers) || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if inside, ok := strings.CutPrefix(imported, "eco2/rehearsal/"); ok {
				imports++
				assert.LessOrEqual(t, slices.Index(layers, strings.Split(inside, "/")[0]), at, "%s imports %s, which is in a folder above", path, inside)
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, imports, 100, "or this test sees nothing")
}
