package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A command that cannot run with the selected plugins is refused before anything is created.
func TestUnusablePluginsAreRefused(t *testing.T) {
	t.Setenv("PULUMI_HOME", t.TempDir())
	t.Setenv("PATH", t.TempDir())
	const models = "PLUGINS=official needs the real machines of LEVEL=rehearse; LEVEL=simulate, preview-diff and bench have only models, on which only the stand-ins work"
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"an unknown value":    {[]string{"up", "--plugins=real"}, `PLUGINS is stand-in or official, not "real"`},
		"an empty value":      {[]string{"destroy", "--plugins="}, `PLUGINS is stand-in or official, not ""`},
		"on models":           {[]string{"up", "--plugins=official", "--level=simulate"}, models},
		"on copied models":    {[]string{"preview", "--plugins=official", "--level=simulate", "--from=dev"}, models},
		"preview-diff":        {[]string{"preview-diff", "--plugins=official"}, models},
		"bench":               {[]string{"bench", "--plugins=official"}, models},
		"missing for up":      {[]string{"up", "--plugins=official"}, ": pulumi plugin install resource kubernetes "},
		"missing for destroy": {[]string{"destroy", "--plugins=official"}, ": pulumi plugin install resource command "},
		"missing for a bench": {[]string{"bench-rehearsal", "--plugins=official", "--level=simulate"}, ", with pulumi-language-go in the same directory: "},
		"missing for prepare": {[]string{"prepare", "--plugins=official"}, ", with pulumi-language-go in the same directory: "},
		"missing for preview": {[]string{"preview", "--plugins=official", "--from=dev"}, ", with pulumi-language-go in the same directory: "},
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
