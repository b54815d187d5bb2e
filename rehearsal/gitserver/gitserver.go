// Package gitserver serves git repositories to be read, over smart HTTP: what a hosting service has at
// https://HOST/NAME.git. Git itself answers, which has to be installed.
package gitserver

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"regexp"
)

// Directory is where in a rehearsal's state directory the repositories are, and Host who has them.
const (
	Directory = "git"
	Host      = "git.eco2.example"
)

// read are the two requests of a fetch. A push has others, which are not here.
var read = regexp.MustCompile(`^/[\w.-]+\.git/(info/refs|git-upload-pack)$`)

// Handler serves the bare repositories in a directory, which may come and go.
func Handler(dir string) (http.Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("finding git, which serves repositories: %w", err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Root: "/", Dir: "/", Env: []string{
		"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1",
		// They are somebody else's, on the other side of a mount.
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !read.MatchString(r.URL.Path) || r.URL.Query().Get("service") == "git-receive-pack" {
			http.Error(w, "repositories are here to be read, as /NAME.git", http.StatusNotFound)
			return
		}
		backend.ServeHTTP(w, r)
	}), nil
}
