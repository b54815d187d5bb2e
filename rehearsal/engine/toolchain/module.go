package toolchain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
)

// ModuleDir returns the directory of a module, in the version that the module in dir pins. It downloads it if it is not
// in the module cache.
func ModuleDir(ctx context.Context, dir, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	// Go reports an error of the module within its JSON output.
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
