package mirror

import (
	"fmt"
	"strconv"
	"strings"
)

var (
	prometheusOperator = project{
		name: "prometheus-operator", module: "github.com/prometheus-operator/prometheus-operator",
		packages: []command{
			{path: "cmd/operator", usual: "2 minutes"}, {path: "cmd/prometheus-config-reloader", usual: "10 seconds"},
		},
		ldflags: func(version string) string { return prometheusVersion(strings.TrimPrefix(version, "v")) },
	}
	prometheusServer = project{
		name: "prometheus", module: "github.com/prometheus/prometheus",
		// With service discovery for Kubernetes only: the clouds' clients take longer to build than the rest.
		packages: []command{{path: "cmd/prometheus", usual: "3 minutes", tags: "remove_all_sd,enable_kubernetes_sd"}},
		ldflags:  func(version string) string { return prometheusVersion(PrometheusRelease(version)) },
	}
	nodeExporter = project{
		name: "node-exporter", module: "github.com/prometheus/node_exporter",
		packages: []command{{path: ".", usual: "half a minute"}},
		ldflags:  func(version string) string { return prometheusVersion(strings.TrimPrefix(version, "v")) },
	}
	alertmanager = project{
		name: "alertmanager", module: "github.com/prometheus/alertmanager",
		packages: []command{{path: "cmd/alertmanager", usual: "a minute"}},
		// The web interface, which upstream builds with Node.js.
		placeholders: []string{"ui/app/dist/index.html"},
		ldflags:      func(version string) string { return prometheusVersion(strings.TrimPrefix(version, "v")) },
	}
	kubeStateMetrics = project{
		name: "kube-state-metrics", module: "k8s.io/kube-state-metrics/v2",
		packages: []command{{path: ".", usual: "a minute"}},
		ldflags:  prometheusVersion,
	}
)

// prometheusVersion returns linker flags that set the version in Prometheus' programs.
func prometheusVersion(version string) string {
	return " -X github.com/prometheus/common/version.Version=" + version
}

// PrometheusRelease returns the release that a version of Prometheus' module belongs to: v0.314.0 is release 3.14.0.
func PrometheusRelease(version string) string {
	_, rest, _ := strings.Cut(version, ".")
	minor, patch, _ := strings.Cut(rest, ".")
	number, err := strconv.Atoi(minor)
	if err != nil {
		return version
	}
	return fmt.Sprintf("%d.%d.%s", number/100, number%100, patch)
}
