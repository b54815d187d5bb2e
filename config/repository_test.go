package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRepositories(t *testing.T) {
	for _, address := range []string{
		"https://github.com/example/workloads.git", "https://github.com/example/workloads", "https://git.example.com:443/w",
		"https://dev.azure.com/org/project/_git/repo", "https://gitlab.com/group/sub/group/w.git",
		"git@github.com:example/workloads.git", "git@ssh.dev.azure.com:v3/org/project/repo", "me@git.example.com:w.git",
		"git@git.example.com:/srv/git/w.git", "git@git.example.com:~me/w.git",
		"ssh://git@github.com/example/workloads.git", "ssh://git@github.com:22/example/workloads.git",
		"ssh://git@ssh.github.com:443/example/workloads.git",
	} {
		assert.Empty(t, repositoryProblem(address), address)
	}
	for want, addresses := range map[string][]string{
		"is not the address of a Git repository": {
			"/srv/git/workloads.git", "./workloads", "file:///srv/git/workloads.git", "git://github.com/example/workloads.git",
			"github.com/example/workloads", "github.com:example/workloads.git", "workloads", "https://", "https://github.com",
			"https://github.com/", "ssh://git@github.com", "git@github.com", "git@github.com:", "https://github.com/example/work loads",
			"https://github.com/example/*", "git@github.com:example/*", "!https://github.com/example/w", "oci://registry.example/chart",
			"git@github.com:example/w.git\nx",
		},
		"contains credentials": {
			"https://me:hunter2@example.com/w.git", "https://hunter2@example.com/w.git", "ssh://git:hunter2@example.com/w.git",
			"http://me:hunter2@example.com/w.git", "https://me:hunter 2@example.com/w.git", "git:hunter2@example.com:w.git",
			"ftp://me:hunter2@example.com/w.git",
		},
		"is read without encryption": {"http://github.com/example/workloads.git"},
		"has no user name":           {"ssh://github.com/example/workloads.git"},
		"has the port":               {"https://git.example.com:8443/w.git", "ssh://git@git.example.com:2222/w.git"},
	} {
		for _, address := range addresses {
			problem := repositoryProblem(address)
			assert.Contains(t, problem, want, address)
			assert.NotContains(t, problem, "hunter", "a message must not contain a password")
		}
	}
}
