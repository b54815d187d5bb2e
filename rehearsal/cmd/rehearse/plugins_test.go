package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What cannot run with the plugins that were asked for is refused before anything is there.
func TestPluginsAreRefused(t *testing.T) {
	t.Setenv("PULUMI_HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	const models = "PLUGINS=official needs the real machines of LEVEL=rehearse: only the stand-ins work on models, and LEVEL=simulate, preview-diff and bench have nothing else"
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"an unknown value":     {[]string{"up", "--plugins=real"}, `PLUGINS is stand-in or official, not "real"`},
		"an empty value":       {[]string{"destroy", "--plugins="}, `PLUGINS is stand-in or official, not ""`},
		"on models":            {[]string{"up", "--plugins=official", "--level=simulate"}, models},
		"on copied models":     {[]string{"preview", "--plugins=official", "--level=simulate", "--from=dev"}, models},
		"preview-diff":         {[]string{"preview-diff", "--plugins=official"}, models},
		"bench":                {[]string{"bench", "--plugins=official"}, models},
		"what is missing":      {[]string{"up", "--plugins=official"}, ": pulumi plugin install resource kubernetes "},
		"missing for destroy":  {[]string{"destroy", "--plugins=official"}, ": pulumi plugin install resource command "},
		"missing for a bench":  {[]string{"bench-rehearsal", "--plugins=official", "--level=simulate"}, ", with pulumi-language-go in the same directory: "},
		"missing for prepare":  {[]string{"prepare", "--plugins=official"}, ", with pulumi-language-go in the same directory: "},
		"missing for a review": {[]string{"preview", "--plugins=official", "--from=dev"}, ", with pulumi-language-go in the same directory: "},
	} {
		t.Run(name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			cmd := root()
			cmd.SetArgs(append(test.args, "--repo", repo, "--state", state))
			cmd.SetOut(io.Discard)
			require.ErrorContains(t, cmd.ExecuteContext(t.Context()), test.says)
			assert.NoDirExists(t, state)
		})
	}
}
