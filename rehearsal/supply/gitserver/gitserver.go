// Package gitserver serves git repositories read-only over smart HTTP, like a hosting service at https://HOST/NAME.git.
// It runs git, which must be installed.
package gitserver

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"regexp"
)

// Directory is the directory with the repositories in a rehearsal's state directory. Host is the server's host name.
const (
	Directory = "git"
	Host      = "git.eco2.example"
)

// read matches the paths of the two requests of a fetch. Those of a push are not served.
var read = regexp.MustCompile(`^/[\w.-]+\.git/(info/refs|git-upload-pack)$`)

// Handler serves the bare repositories in a directory. They may be created and deleted while it serves.
func Handler(dir string) (http.Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("finding the git command, which serves the repositories: %w", err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Root: "/", Dir: "/", Env: []string{
		"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1",
		// The repositories are on a mount and belong to another user. Git would refuse them.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !read.MatchString(r.URL.Path) || r.URL.Query().Get("service") == "git-receive-pack" {
			http.Error(w, "not found: this server serves repositories at /NAME.git, read-only", http.StatusNotFound)
			return
		}
		backend.ServeHTTP(w, r)
	}), nil
}
