package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

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
	anew, err := forget(renamed)
	if err != nil {
		return nil, fmt.Errorf("reading the state of stack %s: %w", from, err)
	}
	if err := os.WriteFile(exported, anew, 0o600); err != nil {
		return nil, fmt.Errorf("writing the state of stack %s: %w", name, err)
	}
	if output, err := target.Output(ctx, "stack", "import", "--stack", name, "--file", exported); err != nil {
		return nil, fmt.Errorf("giving stack %s the state of %s: %w\n%s", name, from, err, output)
	}
	return target, nil
}

// forget takes what an update said about its stack out of an exported state: with it, the program refuses the
// settings of another stack, which differ in name and networks.
func forget(state string) ([]byte, error) {
	var exported map[string]any
	decoder := json.NewDecoder(strings.NewReader(state))
	decoder.UseNumber() // every number stays as it was written
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
