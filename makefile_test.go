package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runMake runs make in a directory with a copy of the Makefile, and with only these variables in its environment.
func runMake(t *testing.T, dir string, env []string, args ...string) (output string, err error) {
	t.Helper()
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Makefile"), makefile, 0o600))
	cmd := exec.CommandContext(t.Context(), "make", args...)
	cmd.Dir, cmd.Env = dir, append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, env...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// targets returns all targets for users. The empty one stands for make without a target.
func targets(t *testing.T) []string {
	t.Helper()
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindSubmatch(makefile)
	require.NotNil(t, phony)
	all := strings.Fields(string(phony[1]))
	require.Contains(t, all, "clean")
	return append(all, "")
}

// splittingNames lists names of directories that make or a shell misinterprets.
var splittingNames = []string{
	"x y", "x\ty", "x\ny", " x", "x ", "x$y", "x$(y)", "x'y", `x"y`, "x`y", `x\y`, "x#y", "x%y", "x:y", "x;y", "x&y", "x|y", "x<y",
	"x>y", "x(y", "x)y", "x{y", "x[y]", "x*", "x?", "x=y",
}

// In "/tmp/x y", `rm -rf /tmp/x y/.rehearsal` would delete the directory "/tmp/x" beside it, so no target may run
// there.
func TestMakeRefusesAPathThatItWouldSplit(t *testing.T) {
	const sentence = `in it, which make and the shell do not keep; move this project\.  Stop\.\n$`
	home := t.TempDir()
	for _, name := range splittingNames {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			victim := filepath.Join(parent, "x", "victim")
			require.NoError(t, os.MkdirAll(filepath.Dir(victim), 0o755))
			require.NoError(t, os.WriteFile(victim, nil, 0o600))
			for _, target := range targets(t) {
				args := []string{"--dry-run", target}
				if target == "clean" {
					args = []string{"clean"}
				}
				if target == "" {
					args = []string{"--dry-run"}
				}
				output, err := runMake(t, filepath.Join(parent, name), []string{"HOME=" + home}, args...)
				var exit *exec.ExitError
				if assert.ErrorAs(t, err, &exit, "make %s ran", target) {
					assert.Equal(t, 2, exit.ExitCode(), target)
				}
				assert.Regexp(t, `^Makefile:\d+: \*\*\* the path `+regexp.QuoteMeta(filepath.Join(parent, name))+" has white space or one of .* "+sentence, output, target)
			}
			assert.FileExists(t, victim)
		})
	}
}

func TestMakeRefusesACacheThatItWouldSplit(t *testing.T) {
	parent := t.TempDir()
	for _, name := range splittingNames {
		cache := filepath.Join(parent, name)
		for _, env := range [][]string{{"HOME=" + cache}, {"HOME=/root", "XDG_CACHE_HOME=" + cache}} {
			output, err := runMake(t, filepath.Join(parent, "project"), env, "--dry-run", "help")
			require.Error(t, err, "%q", env)
			assert.Contains(t, output, "*** the path of your cache directory, "+cache)
			assert.Contains(t, output, "set XDG_CACHE_HOME to another.  Stop.")
		}
	}
}

func TestMakeRunsInOtherPaths(t *testing.T) {
	parent := t.TempDir()
	for _, name := range []string{"eco2", "a-b_c.d,e", "a+b@c", "a~b^c!d", "bücher", "盒子"} {
		dir := filepath.Join(parent, name)
		output, err := runMake(t, dir, []string{"HOME=" + filepath.Join(parent, "home"), "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}, "help")
		require.NoError(t, err, output)
		assert.Contains(t, output, "make clean", name)
		state := filepath.Join(dir, ".rehearsal")
		require.NoError(t, os.Mkdir(state, 0o755))
		output, err = runMake(t, dir, []string{"HOME=/root"}, "clean", "HOST=")
		require.NoError(t, err, output)
		assert.NoDirExists(t, state)
	}
}

// The help and docs/rehearsal.md list each variable that users may set.
func TestVariablesAreDocumented(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	page, err := os.ReadFile("docs/rehearsal.md")
	require.NoError(t, err)
	variables := regexp.MustCompile(`(?m)^([A-Z]+) *\?=`).FindAllStringSubmatch(string(makefile), -1)
	require.Greater(t, len(variables), 7)
	help, err := runMake(t, t.TempDir(), []string{"HOME=/root"}, "help")
	require.NoError(t, err, help)
	for text, line := range map[string]*regexp.Regexp{
		help: regexp.MustCompile(`(?m)^  Variables: .*$`), string(page): regexp.MustCompile(`(?m)^Variables: .*$`),
	} {
		found := line.FindString(text)
		for _, variable := range variables {
			assert.Regexp(t, `\b`+variable[1]+"=", found)
		}
	}
	assert.Contains(t, help, "PLUGINS=stand-in|official")
}

// What Go prints about its downloads is shown if a build fails, or if it is asked for.
func TestMakeShowsTheOutputOfAFailedBuildOnly(t *testing.T) {
	dir, bin := t.TempDir(), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rehearsal"), 0o755))
	standIn := func(exit string) {
		script := "#!/bin/sh\necho 'go: downloading example.com/module v1.0.0' >&2\n[ " + exit + " = 0 ] || exit " + exit +
			"\nwhile [ \"$1\" != -o ]; do shift; done\nmkdir -p \"${2%/*}\" && touch \"$2\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755)) //nolint:gosec // it is run
	}
	env := []string{"HOME=/root", "PATH=" + bin + ":" + os.Getenv("PATH")}
	for _, step := range []struct{ exit, variables, says string }{
		{"1", "VERBOSE=", "building the command rehearse (the first time 4 minutes)\ngo: downloading example.com/module v1.0.0\n"},
		{"0", "VERBOSE=", "building the command rehearse (the first time 4 minutes)\n"},
		{"0", "VERBOSE=", ""},
		{"1", "VERBOSE=", "go: downloading example.com/module v1.0.0\n"},
		{"0", "VERBOSE=1", "go: downloading example.com/module v1.0.0\n"},
	} {
		standIn(step.exit)
		output, err := runMake(t, dir, env, "rehearse", step.variables)
		assert.Equal(t, step.exit == "0", err == nil, output)
		before, _, _ := strings.Cut(output, "make: ***")
		assert.Equal(t, step.says, before)
	}
}
