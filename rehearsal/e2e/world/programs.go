package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

// ProgramWith builds the program with a change in one of its files, and returns its path. The checkout is not changed.
func (w *World) ProgramWith(path string, change func(text string) string) string {
	w.t.Helper()
	original := filepath.Join(w.Options.Repo, filepath.FromSlash(path))
	text, err := os.ReadFile(original)
	require.NoError(w.t, err)
	changed := change(string(text))
	require.NotEqual(w.t, string(text), changed, "the change does not change %s", path)
	dir := w.t.TempDir()
	replacement, overlay := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
	require.NoError(w.t, os.WriteFile(replacement, []byte(changed), 0o600))
	require.NoError(w.t, os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, original, replacement), 0o600))
	program := filepath.Join(dir, "eco2")
	build := exec.CommandContext(w.t.Context(), "go", "build", "-overlay", overlay, "-o", program, ".")
	build.Dir = w.Options.Repo
	out, err := build.CombinedOutput()
	require.NoError(w.t, err, string(out))
	return program
}

// Replace returns a change for ProgramWith that replaces texts: the first by the second, the third by the fourth, and
// so on. The test fails unless each of them occurs exactly once.
func (w *World) Replace(pairs ...string) func(text string) string {
	return func(text string) string {
		w.t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			require.Equal(w.t, 1, strings.Count(text, pairs[i]), "occurrences of %s", pairs[i])
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return text
	}
}

// ProgramWithAnotherComment builds the program with another comment in a script, so that the script's commands run
// again.
func (w *World) ProgramWithAnotherComment(script string) string {
	w.t.Helper()
	return w.ProgramWith("cluster/scripts/"+script, w.Replace("\nset -euo", "\n# Another comment.\nset -euo"))
}

// ProgramWithPendingRedisOperator builds the program with a release that never becomes ready, which it says after half a
// minute: the operator of Redis, for a node that does not exist.
func (w *World) ProgramWithPendingRedisOperator() string {
	w.t.Helper()
	return w.ProgramWith("platform/release.go", w.Replace(
		`	inputs := pulumi.Map{`, `	timeout := releaseTimeout
	if name == "redis-operator" {
		timeout = 30
		args.Values["nodeSelector"] = values{"nowhere": ""}
	}
	inputs := pulumi.Map{`,
		`pulumi.Int(releaseTimeout)`, `pulumi.Int(timeout)`))
}
