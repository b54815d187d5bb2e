package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// `make vulncheck` fails for a vulnerability that is not accepted, and names an accepted one that is gone. A finding
// without a function is about a module of which nothing vulnerable is used. The scanner's format is that of
// golang.org/x/vuln/internal/govulncheck.
func TestNewVulnerabilitiesFail(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("needs jq, which GitHub's runners have")
	}
	finding := func(id, function string) string {
		return fmt.Sprintf(`{"finding": {"osv": %q, "fixed_version": "v0.9.0", "trace": [{"module": "example.com/m", "version": "v0.8.0", "package": "example.com/m/p"%s}]}}`, id, function)
	}
	used := func(id string) string { return finding(id, `, "function": "F"`) }
	const config, stale = `{"config": {"protocol_version": "v1.0.0"}}` + "\n", "note: GO-2026-0002 is no longer found; remove it from accepted.txt\n"
	for name, test := range map[string]struct {
		scanner, prints string
		fails           bool
	}{
		"nothing is found":           {scanner: "echo '" + config + "'", prints: stale},
		"an accepted one":            {scanner: "echo '" + config + used("GO-2026-0002") + "'"},
		"a module that is not used":  {scanner: "echo '" + config + finding("GO-2026-0003", "") + "'", prints: stale},
		"a new one":                  {scanner: "echo '" + config + used("GO-2026-0002") + used("GO-2026-0003") + used("GO-2026-0003") + "'", fails: true, prints: "GO-2026-0003 in program: example.com/m v0.8.0, fixed in v0.9.0\nerror: raise these modules, or accept a vulnerability in accepted.txt; https://pkg.go.dev/vuln/ describes each\n"},
		"the database is not there":  {scanner: "echo 'no such host' >&2; exit 1", fails: true, prints: "no such host\n"},
		"a program without findings": {scanner: "echo '" + config + `{"osv": {"id": "GO-2026-0009"}}'`, prints: stale},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			accepted := "# a comment\n\nGO-2026-0002 only on Windows\n"
			require.NoError(t, os.WriteFile(filepath.Join(dir, "accepted.txt"), []byte(accepted), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "scanner"), []byte("#!/bin/sh\n"+test.scanner+"\n"), 0o755))
			script, err := filepath.Abs("tools/govulncheck/check.sh")
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), "bash", script, "./scanner", "accepted.txt", "bin/program")
			cmd.Dir = dir
			output, err := cmd.CombinedOutput()
			assert.Equal(t, test.fails, err != nil, string(output))
			assert.Equal(t, test.prints, string(output))
		})
	}
}

// Each accepted vulnerability has a reason.
func TestAcceptedVulnerabilitiesHaveAReason(t *testing.T) {
	text, err := os.ReadFile("tools/govulncheck/accepted.txt")
	require.NoError(t, err)
	entry := regexp.MustCompile(`^GO-\d{4}-\d{4,} \S+ \S+`)
	for line := range strings.Lines(string(text)) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			assert.Regexp(t, entry, line)
		}
	}
}
