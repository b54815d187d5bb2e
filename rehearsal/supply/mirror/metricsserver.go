package mirror

var metricsServer = project{
	name: "metrics-server", module: "sigs.k8s.io/metrics-server",
	packages: []command{{path: "cmd/metrics-server", usual: "2 minutes"}},
	ldflags: func(version string) string {
		return " -X k8s.io/client-go/pkg/version.gitVersion=" + version
	},
}
