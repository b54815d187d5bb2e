// Package gitcli runs git commands in a directory, independent of git's variables in this process's environment.
//
// Git sets environment variables for a hook with the hook's repository, work tree and index, and these take precedence
// over the current directory of a git command. So a git command that a hook runs in another directory, such as a
// checkout of a pull request's base, would change the index of the commit that is being made.
package gitcli

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// local lists the environment variables that belong to one repository, as `git rev-parse --local-env-vars` prints them.
// It leaves out those with settings (GIT_CONFIG_COUNT and the like), which may set safe.directory.
var local = []string{
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE",
	"GIT_INTERNAL_SUPER_PREFIX", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE",
	"GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}

// Environ returns this process's environment without the variables that belong to one repository. Use it also for
// commands that run git themselves, such as `go build` and `pulumi`.
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
