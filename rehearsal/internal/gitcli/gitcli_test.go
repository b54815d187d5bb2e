package gitcli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The list is compared with that of the installed git.
func TestEveryLocalVariableIsDropped(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--local-env-vars").Output()
	require.NoError(t, err)
	var names []string
	for _, name := range strings.Fields(string(output)) {
		if !strings.HasPrefix(name, "GIT_CONFIG") {
			names = append(names, name)
		}
	}
	require.Contains(t, names, "GIT_DIR")
	for _, name := range names {
		t.Setenv(name, "/nowhere")
	}
	t.Setenv("GIT_AUTHOR_NAME", "somebody")
	t.Setenv("GIT_CONFIG_COUNT", "0")
	environ := Environ()
	for _, name := range names {
		assert.False(t, slices.Contains(environ, name+"=/nowhere"), name)
	}
	assert.Contains(t, environ, "GIT_AUTHOR_NAME=somebody")
	assert.Contains(t, environ, "GIT_CONFIG_COUNT=0")
	assert.Equal(t, len(os.Environ())-len(names), len(environ), "nothing else is dropped")
}

func TestCommandRunsInItsDirectory(t *testing.T) {
	here, elsewhere := t.TempDir(), t.TempDir()
	for _, dir := range []string{here, elsewhere} {
		output, err := Command(t.Context(), dir, "init", "--quiet").CombinedOutput()
		require.NoError(t, err, string(output))
	}
	t.Setenv("GIT_DIR", filepath.Join(elsewhere, ".git"))
	output, err := Command(t.Context(), here, "rev-parse", "--absolute-git-dir").CombinedOutput()
	require.NoError(t, err, string(output))
	resolved, err := filepath.EvalSymlinks(here)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(resolved, ".git"), strings.TrimSpace(string(output)))
}
