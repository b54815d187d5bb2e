// Package gitcli runs git in a directory, whatever repository this process's environment names.
//
// Git tells a hook by environment variables which repository, work tree and index it runs for, and these win over
// the directory that a git command is run in. So a git command in another directory, such as a checkout of a
// pull request's base, would write into the index of the commit that is being made.
package gitcli

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// local are the variables that belong to one repository, as `git rev-parse --local-env-vars` lists them. Those with
// settings (GIT_CONFIG_COUNT and its like) are left out: they may say which directories are safe.
var local = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE",
	"GIT_INTERNAL_SUPER_PREFIX", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE",
	"GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}

// Environ returns this process's environment without the variables that belong to one repository. Commands that
// run git themselves, such as `go build` and `pulumi`, want it too.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(local, name)
	})
}

// Command returns a git command that runs in dir.
func Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, Environ()
	return cmd
}
