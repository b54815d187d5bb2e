package toolchain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// ModuleDir is the directory of a module, downloaded where it is not there, at the version that the module in
// dir pins.
func ModuleDir(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	// What is wrong with the module is printed beside what is known of it.
	var found struct{ Dir, Error string }
	parseErr := json.Unmarshal(output, &found)
	switch {
	case found.Error != "":
		return "", fmt.Errorf("downloading the module %s: %s", module, found.Error)
	case err != nil || parseErr != nil:
		return "", fmt.Errorf("downloading the module %s: %w\n%s", module, errors.Join(err, parseErr), problems.String())
	}
	return found.Dir, nil
}
