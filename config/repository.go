package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

var (
	// scpForm matches git's notation of an SSH address without a scheme: git@github.com:example/workloads.git.
	scpForm     = regexp.MustCompile(`^[\w.-]+@[\w.-]+:.*[^/]`)
	credentials = regexp.MustCompile(`(^|://)[^/@]*:[^/]*@|^https?://[^/]*@`)
)

// repositoryProblem returns what is wrong with a repository's address, or an empty string. Argo CD supports HTTPS, and
// SSH with a user name; its network policy allows connections to ports 443 and 22.
func repositoryProblem(address string) string {
	wrong := fmt.Sprintf("%q is not the address of a Git repository; write it as "+
		"https://github.com/example/workloads.git, git@github.com:example/workloads.git "+
		"or ssh://git@github.com/example/workloads.git", address)
	if credentials.MatchString(address) { // checked first, because the other messages quote the address
		return "contains credentials; give them to Argo CD as a repository secret instead"
	}
	// The white space is never valid; Argo CD's AppProject interprets the other characters as patterns.
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
		return fmt.Sprintf("%q is read without encryption, and Argo CD's network policy does not allow port 80; "+
			"use https or ssh", address)
	case u.Scheme != "https" && u.Scheme != "ssh":
		return wrong
	case u.Scheme == "ssh" && u.User == nil:
		return fmt.Sprintf("%q has no user name; most servers expect git: ssh://git@%s%s", address, u.Host, u.Path)
	case u.Port() != "" && u.Port() != "443" && u.Port() != "22":
		return fmt.Sprintf("%q has the port %s; Argo CD's network policy allows only 443 and 22", address, u.Port())
	}
	return ""
}
