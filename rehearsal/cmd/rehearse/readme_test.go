package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/conformance"
	"eco2/rehearsal/rehearse"
)

// The README's table of what is real names each image that the mirror serves, in one row, as what it is there.
func TestWhatIsReal(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "### What is real, what is a model\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")

	served := map[string]bool{}
	for _, image := range rehearse.Images() {
		served[image.Name] = image.StandIn
	}
	image := regexp.MustCompile("`([a-z0-9-]+\\.[a-z0-9.-]+/[^` ]+:[^` ]+)`")
	var named []string
	for row := range strings.Lines(section) {
		for _, match := range image.FindAllStringSubmatch(row, -1) {
			name := match[1]
			assert.NotContains(t, named, name, "an image has one row")
			named = append(named, name)
			if !assert.Contains(t, served, name, "the table names what the mirror does not serve") {
				continue
			}
			cells := strings.Split(row, "|")
			require.Greater(t, len(cells), 3, row)
			is := "real"
			if served[name] {
				is = "stand-in"
			}
			assert.True(t, strings.HasPrefix(strings.TrimSpace(cells[2]), is), "%s is a %s, not %q", name, is, cells[2])
		}
	}
	for name := range served {
		assert.True(t, slices.Contains(named, name), "the table does not name %s", name)
	}
}

// The README's list of the tests' images is what Prepare serves for them, as what it is there.
func TestImagesOfUpstreamsTests(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n## Conformance\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	_, table, found := strings.Cut(section, "| Image | What is in it |\n|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	want := ""
	for _, image := range conformance.Images() {
		want += "| `" + image.Name + "` | " + image.Made + " |\n"
	}
	assert.Equal(t, want, table+"\n")
	for _, suite := range []string{"conformance", "network-policies", "quick"} {
		_, err := conformance.SuiteNamed(suite)
		assert.NoError(t, err)
		assert.Contains(t, section, "\n| `"+suite+"`")
	}
}
