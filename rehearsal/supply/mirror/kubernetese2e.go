package mirror

// kubernetesE2E builds upstream's end-to-end tests, Ginkgo, which runs them in parallel, and the programs that run in
// the tests' pods.
var kubernetesE2E = project{
	name: "kubernetes-e2e", module: "k8s.io/kubernetes",
	packages: []command{
		{path: "test/e2e", name: "e2e.test", usual: "10 minutes", test: true},
		{module: "github.com/onsi/ginkgo/v2", path: "ginkgo", usual: "10 seconds"},
		{path: "test/images/agnhost", usual: "10 seconds"},
		{path: "test/images/nonewprivs", usual: "a second"},
		{path: "test/images/regression-issue-74839", usual: "a second"},
		{module: "k8s.io/sample-apiserver", path: ".", name: "sample-apiserver", usual: "10 seconds"},
	},
	ldflags: kubernetesVersion,
}
