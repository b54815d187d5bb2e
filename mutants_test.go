package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests of one of the guards need only config/, which is built in seconds. All of them take minutes.
var mutants = flag.String("mutants", "^X8$", "the ids of the incidents whose guards TestGuardsAreTested takes away")

// TestGuardsAreTested takes guards away in a copy of the project, one at a time, and sees the test fail that the register
// names. `make mutants` does so for all guards.
func TestGuardsAreTested(t *testing.T) {
	r, tests := readRegister(t), testFunctions(t)
	type mutant struct {
		id, dir, pattern, test string
		edits                  []edit
	}
	var all []mutant
	names := map[string][]string{} // of the tests, by directory
	r.forEachCheck(func(i incident, c guardCheck) {
		if len(c.Edits) == 0 || !regexp.MustCompile(*mutants).MatchString(i.ID) {
			return
		}
		name := c.Test
		if name == "" {
			name = "TestDeclaredGuards"
		}
		dir := tests[name][0].dir
		names[dir] = append(names[dir], name)
		m := mutant{i.ID, dir, "^" + name + "$", name, c.Edits}
		if len(c.Cases) > 0 {
			m.pattern += "/^" + regexp.QuoteMeta(c.Cases[0]) + "$"
			m.test += "/" + strings.ReplaceAll(c.Cases[0], " ", "_")
		}
		all = append(all, m)
	})
	require.NotEmpty(t, all)
	copied := copyProject(t)
	run := func(dir, pattern string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-run", pattern, ".")
		cmd.Dir = filepath.Join(copied, dir)
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	for dir, tests := range names {
		output, err := run(dir, "^("+strings.Join(tests, "|")+")$")
		require.NoError(t, err, "the tests fail although every guard is in place:\n%s", output)
	}
	for _, m := range all {
		t.Run(m.id+" "+m.test, func(t *testing.T) {
			for _, e := range m.edits {
				path := filepath.Join(copied, e.File)
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), e.Old, e.New, 1)), 0o600))
				t.Cleanup(func() { require.NoError(t, os.WriteFile(path, text, 0o600)) })
			}
			output, err := run(m.dir, m.pattern)
			require.Error(t, err, "the test passes without the guard")
			require.Contains(t, output, "--- FAIL: "+m.test, "the test must fail, and not only the build")
		})
	}
}

// copyProject returns a copy of the project without hidden directories, except that of the workflows.
func copyProject(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case !entry.IsDir():
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
		case name == ".github" || !strings.HasPrefix(name, "."):
			require.NoError(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(name)))
		}
	}
	return dir
}
