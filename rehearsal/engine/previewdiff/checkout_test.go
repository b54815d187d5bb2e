package previewdiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/gitcli"
)

// history creates a repository with two commits. The contents of a file tell which one is checked out.
func history(t *testing.T) string {
	t.Helper()
	repo := t.TempDir()
	run(t, repo, "init", "--quiet", "--initial-branch=main")
	for _, text := range []string{"first", "second"} {
		require.NoError(t, os.WriteFile(filepath.Join(repo, "file"), []byte(text), 0o600))
		run(t, repo, "add", ".")
		run(t, repo, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", text)
	}
	return repo
}

func run(t *testing.T, repo string, args ...string) string {
	t.Helper()
	output, err := gitcli.Command(t.Context(), repo, args...).CombinedOutput()
	require.NoError(t, err, string(output))
	return strings.TrimSpace(string(output))
}

func worktrees(t *testing.T, repo string) int {
	t.Helper()
	return strings.Count(run(t, repo, "worktree", "list"), "\n") + 1
}

func TestAMissingBaseIsAnError(t *testing.T) {
	repo := history(t)
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, repo, "clone", "--quiet", "--depth=1", "file://"+repo, clone)
	for name, test := range map[string]struct{ repo, ref, want string }{
		"unknown":   {repo, "nowhere", "there is no commit nowhere in this checkout; fetch it, or give BASE=<another>"},
		"before":    {repo, "HEAD~2", "there is no commit HEAD~2 in this checkout; fetch it, or give BASE=<another>"},
		"an option": {repo, "--all", "there is no commit --all in this checkout; fetch it, or give BASE=<another>"},
		"shallow":   {clone, "HEAD~1", "there is no commit HEAD~1 in this checkout; fetch it: this clone is shallow, and `git fetch --unshallow` fetches all commits, or give BASE=<another>"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := resolve(t.Context(), test.repo, test.ref)
			require.EqualError(t, err, test.want)
		})
	}
	_, err := resolve(t.Context(), t.TempDir(), "HEAD")
	require.ErrorContains(t, err, "not a git repository")
}

func TestTheDefaultBase(t *testing.T) {
	repo := history(t)
	assert.Equal(t, "HEAD~1", DefaultBase(t.Context(), repo))
	clone := filepath.Join(t.TempDir(), "clone")
	run(t, repo, "clone", "--quiet", repo, clone)
	assert.Equal(t, "origin/main", DefaultBase(t.Context(), clone))
}

func TestCheckOut(t *testing.T) {
	repo := history(t)
	require.NoError(t, os.WriteFile(filepath.Join(repo, ".git", "hooks", "post-checkout"), []byte("#!/bin/sh\nexit 1\n"), 0o700)) //nolint:gosec // a hook is a program
	commit, err := resolve(t.Context(), repo, "HEAD~1")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "base")
	project, remove, err := checkOut(t.Context(), repo, commit, dir)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(project, "file"))
	require.NoError(t, err)
	assert.Equal(t, "first", string(data))
	require.NoError(t, os.WriteFile(filepath.Join(project, "built"), nil, 0o600))
	require.NoError(t, remove())
	assert.Equal(t, 1, worktrees(t, repo))
	assert.NoDirExists(t, dir)
	assert.Equal(t, "second", run(t, repo, "show", "HEAD:file"))
	assert.Empty(t, run(t, repo, "status", "--porcelain"))
}

// checkOutIn is an environment variable. It names the repository from which this test's process checks out a commit
// when it runs as a hook of that repository.
const checkOutIn = "ECO2_TEST_CHECK_OUT_IN"

// `make preview-diff` may run in a pre-commit hook. Git's environment for hooks names the index of the commit, and what
// the hook checks out must not get into that index.
func TestCheckOutInAHook(t *testing.T) {
	if repo := os.Getenv(checkOutIn); repo != "" {
		project, remove, err := checkOut(t.Context(), repo, "HEAD~1", filepath.Join(t.TempDir(), "base"))
		require.NoError(t, err)
		data, err := os.ReadFile(filepath.Join(project, "file"))
		require.NoError(t, err)
		assert.Equal(t, "first", string(data))
		require.NoError(t, remove())
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for name, linked := range map[string]bool{"a clone": false, "a linked worktree": true} {
		t.Run(name, func(t *testing.T) {
			repo := history(t)
			work := repo
			if linked {
				work = filepath.Join(t.TempDir(), "linked")
				run(t, repo, "worktree", "add", "--quiet", "-b", "topic", work)
			}
			ran := filepath.Join(t.TempDir(), "ran")
			hook := fmt.Sprintf("#!/bin/sh\nset -eu\n%s='%s' '%s' -test.run '^TestCheckOutInAHook$' -test.count 1 >&2\ntouch '%s'\n",
				checkOutIn, work, self, ran)
			require.NoError(t, os.WriteFile(filepath.Join(repo, ".git", "hooks", "pre-commit"), []byte(hook), 0o700)) //nolint:gosec // a hook is a program
			require.NoError(t, os.WriteFile(filepath.Join(work, "file"), []byte("third"), 0o600))

			run(t, work, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--all", "--message", "third")
			assert.FileExists(t, ran)
			assert.Equal(t, "third", run(t, work, "show", "HEAD:file"))
			assert.Equal(t, "second", run(t, work, "show", "HEAD~1:file"))
			assert.Empty(t, run(t, work, "status", "--porcelain"))
		})
	}
}

// A project may be in a subdirectory of its repository.
func TestCheckOutOfASubdirectory(t *testing.T) {
	repo := history(t)
	part := filepath.Join(repo, "infra", "eco2")
	require.NoError(t, os.MkdirAll(part, 0o700))
	dir := filepath.Join(t.TempDir(), "base")
	project, remove, err := checkOut(t.Context(), part, "HEAD", dir)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "infra", "eco2"), project)
	require.NoError(t, remove())
}

func TestAheadCountsCommitsThatTheCheckoutLacks(t *testing.T) {
	repo := history(t)
	assert.Equal(t, 0, ahead(t.Context(), repo, run(t, repo, "rev-parse", "HEAD~1")))
	run(t, repo, "checkout", "--quiet", "HEAD~1")
	assert.Equal(t, 1, ahead(t.Context(), repo, run(t, repo, "rev-parse", "main")))
}

// Whether a comparison succeeds, fails or is interrupted, it leaves no worktree and no directory.
func TestNothingIsLeft(t *testing.T) {
	for name, test := range map[string]struct {
		base    string
		tools   func(cancel func()) error
		problem string
		err     error
	}{
		"a missing base": {base: "nowhere", problem: "there is no commit nowhere in this checkout; fetch it, or give BASE=<another>"},
		"a program that does not build": {base: "HEAD~1",
			tools:   func(func()) error { return errors.New("building the program: undefined: missing") },
			problem: "the working tree's program cannot be built: building the program: undefined: missing"},
		"a base without a program": {base: "HEAD~1", tools: func(func()) error { return nil }, problem: "finding the SDKs of the base's program"},
		"an interrupt":             {base: "HEAD~1", tools: func(cancel func()) error { cancel(); return context.Canceled }, err: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			repo, temporary := history(t), t.TempDir()
			t.Setenv("TMPDIR", temporary)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			report, err := Run(ctx, Options{Repo: repo, Base: test.base, Stacks: []string{"dev"}, Progress: io.Discard,
				Tools: func(context.Context) (toolchain.Toolchain, error) {
					assert.Equal(t, 2, worktrees(t, repo), "the base is checked out")
					return toolchain.Toolchain{}, test.tools(cancel)
				}})
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				assert.Equal(t, Failed, report.Outcome())
				assert.Contains(t, report.Problem, test.problem)
			}
			assert.Equal(t, 1, worktrees(t, repo))
			left, err := os.ReadDir(temporary)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
