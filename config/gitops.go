package config

// GitOps says where the root Application finds the workloads. It is empty in a stack without workloads, the default;
// otherwise every field is set.
type GitOps struct {
	// Repository is the address of a Git repository, over HTTPS or SSH and without credentials.
	Repository string `json:"repository"`
	// Revision is a branch, a tag or a commit.
	Revision string `json:"revision"`
	// Path is the directory of the Applications in the repository.
	Path string `json:"path"`
}

// checkGitOps reports a repository that is described in part only, or at an address that Argo CD cannot use.
func (r *report) checkGitOps(g GitOps) {
	if g == (GitOps{}) {
		return // no root Application: a cluster without workloads is valid
	}
	for _, field := range []struct{ key, value, example string }{
		{"gitops.repository", g.Repository, "https://github.com/example/workloads.git"},
		{"gitops.revision", g.Revision, "main"},
		{"gitops.path", g.Path, "clusters/dev/apps"},
	} {
		if field.value == "" {
			r.problem(field.key, "is missing; set all fields of gitops or none, for instance %s", field.example)
		}
	}
	if problem := repositoryProblem(g.Repository); g.Repository != "" && problem != "" {
		r.problem("gitops.repository", "%s", problem)
	}
}
