package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/toolchain"
)

// OpenWithStateOf opens a stack in its own state directory, with a copy of another stack's state. A preview of it shows
// what would have to change to turn the other stack into this one.
func OpenWithStateOf(ctx context.Context, name, from string, tools toolchain.Toolchain, o Options, stateDir string) (*Stack, error) {
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
	cleaned, err := removeMadeOutput(renamed)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", from, err)
	}
	if err := os.WriteFile(exported, cleaned, 0o600); err != nil {
		return nil, fmt.Errorf("writing the state of stack %s: %w", name, err)
	}
	if output, err := target.Output(ctx, "stack", "import", "--stack", name, "--file", exported); err != nil {
		return nil, fmt.Errorf("importing the state of stack %s into %s: %w\n%s", from, name, err, output)
	}
	return target, nil
}

// removeMadeOutput removes the stack output "made" from an exported state. The program compares that output with the
// settings, and would refuse those of another stack, because name and networks differ.
func removeMadeOutput(state string) ([]byte, error) {
	var exported map[string]any
	decoder := json.NewDecoder(strings.NewReader(state))
	decoder.UseNumber() // keeps every number as it was written
	if err := decoder.Decode(&exported); err != nil {
		return nil, err
	}
	deployment, _ := exported["deployment"].(map[string]any)
	resources, _ := deployment["resources"].([]any)
	for _, r := range resources {
		if r, _ := r.(map[string]any); r["type"] == string(resource.RootStackType) {
			if outputs, _ := r["outputs"].(map[string]any); outputs != nil {
				delete(outputs, "made")
			}
		}
	}
	return json.Marshal(exported)
}
