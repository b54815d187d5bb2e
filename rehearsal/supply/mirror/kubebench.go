package mirror

// kubeBench builds kube-bench, which runs the checks of the CIS Kubernetes Benchmark, and gojq as the jq that some of
// them call: machines have none.
var kubeBench = project{
	name: "kube-bench", module: "github.com/aquasecurity/kube-bench",
	packages: []command{
		{path: ".", usual: "2 minutes"},
		{module: "github.com/itchyny/gojq", path: "cmd/gojq", name: "jq", usual: "10 seconds"},
	},
	ldflags: func(version string) string {
		return " -X github.com/aquasecurity/kube-bench/cmd.KubeBenchVersion=" + version
	},
}
