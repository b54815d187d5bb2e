package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

var (
	// scpForm is how git writes an SSH address without a scheme: git@github.com:example/workloads.git.
	scpForm     = regexp.MustCompile(`^[\w.-]+@[\w.-]+:.*[^/]`)
	credentials = regexp.MustCompile(`(^|://)[^/@]*:[^/]*@|^https?://[^/]*@`)
)

// repositoryProblem says what is wrong with a repository's address. Argo CD takes HTTPS, and SSH with a user's
// name in front; its network policy lets it out on the ports 443 and 22.
func repositoryProblem(address string) string {
	wrong := fmt.Sprintf("%q is not the address of a Git repository; write it as https://github.com/example/workloads.git, "+
		"git@github.com:example/workloads.git or ssh://git@github.com/example/workloads.git", address)
	if credentials.MatchString(address) { // first, since the other messages quote the address
		return "carries credentials; give them to Argo CD as a repository secret instead"
	}
	// Argo CD's project reads the last ones as patterns.
	if strings.ContainsAny(address, " \t\r\n\\*?[]{}!") {
		return wrong
	}
	if scpForm.MatchString(address) && !strings.Contains(address, "://") {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return wrong
	}
	switch {
	case u.Scheme == "http":
		return fmt.Sprintf("%q is read without encryption, and Argo CD's network policy does not let it out on port 80; use https or ssh", address)
	case u.Scheme != "https" && u.Scheme != "ssh":
		return wrong
	case u.Scheme == "ssh" && u.User == nil:
		return fmt.Sprintf("%q has no user's name; most servers want git: ssh://git@%s%s", address, u.Host, u.Path)
	case u.Port() != "" && u.Port() != "443" && u.Port() != "22":
		return fmt.Sprintf("%q has the port %s; Argo CD's network policy lets it out on 443 and 22 only", address, u.Port())
	}
	return ""
}
