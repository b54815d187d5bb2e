package previewdiff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"eco2/rehearsal/internal/gitcli"
)

// DefaultBase returns the commit with which a checkout is compared by default: the tip of the main branch as it was
// last fetched, or the previous commit if there is none.
func DefaultBase(ctx context.Context, repo string) string {
	if _, err := git(ctx, repo, "rev-parse", "--verify", "--quiet", "origin/main^{commit}"); err == nil {
		return "origin/main"
	}
	return "HEAD~1"
}

// resolve returns the hash of the commit that ref names.
func resolve(ctx context.Context, repo, ref string) (commit string, err error) {
	if _, err := git(ctx, repo, "rev-parse", "--git-dir"); err != nil {
		return "", fmt.Errorf("looking for the commit %s: %w", ref, err)
	}
	commit, err = git(ctx, repo, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		fetch := "fetch it"
		if shallow(ctx, repo) {
			fetch = "fetch it: this clone is shallow, and `git fetch --unshallow` fetches all commits"
		}
		return "", fmt.Errorf("there is no commit %s in this checkout; %s, or give BASE=<another>", ref, fetch)
	}
	return commit, err
}

func shallow(ctx context.Context, repo string) bool {
	answer, err := git(ctx, repo, "rev-parse", "--is-shallow-repository")
	return err == nil && answer == "true"
}

// ahead returns how many commits the history of commit has that the checkout's history lacks. It is also zero if that
// is unknown, as in a shallow clone.
func ahead(ctx context.Context, repo, commit string) int {
	text, err := git(ctx, repo, "rev-list", "--count", "HEAD.."+commit)
	if err != nil || shallow(ctx, repo) {
		return 0
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return count
}

// checkOut makes a worktree of a commit in dir, which must not exist, and returns the project's directory in it. The
// caller must call remove to remove it again, even after an error.
func checkOut(ctx context.Context, repo, commit, dir string) (project string, remove func() error, err error) {
	remove = func() error {
		// It must also run after an interrupt, when ctx is cancelled.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		list, err := git(ctx, repo, "worktree", "list", "--porcelain")
		if err == nil && strings.Contains(list+"\n", "worktree "+dir+"\n") {
			_, err = git(ctx, repo, "worktree", "remove", "--force", dir)
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return fmt.Errorf("removing the checkout of %s: %w", commit, err)
		}
		return nil
	}
	// The project may be in a subdirectory of its repository.
	prefix, err := git(ctx, repo, "rev-parse", "--show-prefix")
	if err == nil {
		// Without hooks: they are meant for the user's own checkouts.
		_, err = git(ctx, repo, "-c", "core.hooksPath="+os.DevNull, "worktree", "add", "--quiet", "--detach", dir, commit)
	}
	if err != nil {
		return "", remove, fmt.Errorf("checking out %s: %w", commit, err)
	}
	return filepath.Join(dir, filepath.FromSlash(prefix)), remove, nil
}

// git runs a git command in a checkout, and returns its trimmed output.
func git(ctx context.Context, repo string, args ...string) (string, error) {
	cmd := gitcli.Command(ctx, repo, args...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	// After an interrupt, git removes what is incomplete.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%w\n%s", err, strings.TrimSpace(problems.String()))
	}
	return strings.TrimSpace(out.String()), nil
}
