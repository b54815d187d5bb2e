package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"eco2/rehearsal/toolchain"
)

// Shaped opens a stack in a state directory of its own whose state is a copy of another stack's: what a
// preview of it says is what would have to change to make the one into the other.
func Shaped(ctx context.Context, name, from string, tools toolchain.Toolchain, o Options, stateDir string) (*Stack, error) {
	source, err := Open(ctx, from, tools, o)
	if err != nil {
		return nil, err
	}
	// The copy's secrets are encrypted with the same throw-away passphrase.
	secrets, err := loadThrowAway(o.StateDir)
	if err != nil {
		return nil, err
	}
	if err := save(filepath.Join(stateDir, "throwaway.json"), secrets); err != nil {
		return nil, fmt.Errorf("copying the rehearsal's throw-away secrets: %w", err)
	}
	o.StateDir = stateDir
	target, err := Open(ctx, name, tools, o)
	if err != nil {
		return nil, err
	}
	exported := filepath.Join(stateDir, from+".json")
	if output, err := source.Output(ctx, "stack", "export", "--stack", from, "--file", exported); err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w\n%s", from, err, output)
	}
	data, err := os.ReadFile(exported)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", from, err)
	}
	renamed := strings.NewReplacer(
		"urn:pulumi:"+from+"::", "urn:pulumi:"+name+"::",
		"::"+source.Project+"-"+from+`"`, "::"+source.Project+"-"+name+`"`,
	).Replace(string(data))
	if err := os.WriteFile(exported, []byte(renamed), 0o600); err != nil {
		return nil, fmt.Errorf("writing the state of stack %s: %w", name, err)
	}
	if output, err := target.Output(ctx, "stack", "import", "--stack", name, "--file", exported); err != nil {
		return nil, fmt.Errorf("giving stack %s the state of %s: %w\n%s", name, from, err, output)
	}
	return target, nil
}
