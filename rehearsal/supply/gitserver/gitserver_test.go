package gitserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	git "github.com/go-git/go-git/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/gitcli"
)

// run runs git without the user's and the system's settings.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	output, err := try(t, dir, args...)
	require.NoError(t, err, "git %s: %s", strings.Join(args, " "), output)
	return strings.TrimSpace(output)
}

func try(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := gitcli.Command(t.Context(), dir, args...)
	cmd.Env = append(cmd.Env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@eco2.example", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@eco2.example")
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// origin serves a bare repository with a branch develop. work is a clone from which commit pushes to it.
func origin(t *testing.T) (served, work, url string) {
	t.Helper()
	served, work = t.TempDir(), t.TempDir()
	run(t, served, "init", "--bare", "--initial-branch=develop", "workloads.git")
	run(t, work, "clone", filepath.Join(served, "workloads.git"), ".")
	commit(t, work, "a", "1")
	handler, err := Handler(served)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return served, work, server.URL + "/workloads.git"
}

func commit(t *testing.T, work, file, text string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(work, file), []byte(text), 0o644))
	run(t, work, "add", ".")
	run(t, work, "commit", "--message", file+text)
	run(t, work, "push", "--follow-tags", "origin", "HEAD:develop")
	return run(t, work, "rev-parse", "HEAD")
}

// more makes so many commits that a fetch needs several rounds of negotiation.
func more(t *testing.T, work string) {
	t.Helper()
	for range 20 {
		run(t, work, "commit", "--allow-empty", "--message", "more")
	}
}

func TestGit(t *testing.T) {
	for _, version := range []int{0, 2} {
		t.Run(fmt.Sprintf("protocol version %d", version), func(t *testing.T) {
			_, work, url := origin(t)
			use := fmt.Sprintf("protocol.version=%d", version)
			clone := t.TempDir()
			assert.Contains(t, run(t, clone, "-c", use, "ls-remote", url), "refs/heads/develop")
			// Fetch like Argo CD: into an empty repository, and then again into the same one.
			run(t, clone, "init")
			run(t, clone, "remote", "add", "origin", url)
			for i := range 2 {
				more(t, work)
				run(t, work, "tag", "--annotate", "--message", "v", fmt.Sprint("v", i))
				head := commit(t, work, "b", fmt.Sprint(i))
				run(t, clone, "-c", use, "fetch", "origin", "--tags", "--force", "--prune")
				assert.Equal(t, head, run(t, clone, "rev-parse", "origin/develop"))
				run(t, clone, "checkout", "--force", head)
				text, err := os.ReadFile(filepath.Join(clone, "b"))
				require.NoError(t, err)
				assert.Equal(t, fmt.Sprint(i), string(text))
				assert.Equal(t, fmt.Sprint("v", i), run(t, clone, "describe", "--abbrev=0"))
			}
			// Each side has commits that the other does not have.
			run(t, clone, "checkout", "-b", "own")
			more(t, clone)
			run(t, work, "commit", "--amend", "--message", "rewritten")
			run(t, work, "push", "--force", "origin", "HEAD:develop")
			run(t, clone, "-c", use, "fetch", "origin", "--tags", "--force", "--prune")
			assert.Equal(t, run(t, work, "rev-parse", "HEAD"), run(t, clone, "rev-parse", "origin/develop"))
			run(t, clone, "fsck", "--strict")
			shallow := t.TempDir()
			run(t, shallow, "-c", use, "clone", "--depth=1", url, ".")
			assert.Equal(t, "1", run(t, shallow, "rev-list", "--count", "HEAD"))
		})
	}
}

// Argo CD also lists references and fetches with go-git.
func TestGoGit(t *testing.T) {
	_, work, url := origin(t)
	dir := t.TempDir()
	clone, err := git.PlainCloneContext(t.Context(), dir, &git.CloneOptions{URL: url})
	require.NoError(t, err)
	head := commit(t, work, "a", "2")
	require.NoError(t, clone.FetchContext(t.Context(), &git.FetchOptions{}))
	now, err := clone.ResolveRevision("refs/remotes/origin/develop")
	require.NoError(t, err)
	assert.Equal(t, head, now.String())
}

func TestServerIsReadOnly(t *testing.T) {
	served, work, url := origin(t)
	run(t, work, "remote", "set-url", "origin", url)
	run(t, work, "commit", "--allow-empty", "--message", "more")
	output, err := try(t, work, "push", "origin", "HEAD:develop")
	assert.Error(t, err, output)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(served), "secret"), []byte("x"), 0o644))
	for _, path := range []string{"/info/refs?service=git-receive-pack", "/HEAD", "/objects/info/packs", "/../../secret", "/%2e%2e/secret/info/refs?service=git-upload-pack"} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
	}
	output, err = try(t, t.TempDir(), "ls-remote", strings.Replace(url, "workloads", "none", 1))
	assert.Error(t, err, output)
}
