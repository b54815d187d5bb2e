// Package prometheus adds the images of kube-prometheus-stack's chart to the mirror. Prometheus, its operator with the
// config reloader, Alertmanager, kube-state-metrics and the node exporter are real, built from their Go modules.
// Prometheus and Alertmanager have no web interface, because it is not in their modules, and Prometheus supports
// service discovery in Kubernetes only. The images of Grafana and of the certificate's Job are stand-ins that package
// supply adds.
package prometheus

import (
	"context"
	"io"

	"eco2/rehearsal/supply/mirror"
)

// The versions in the chart in rehearsal/supply/charts. A test compares the two.
const (
	operatorVersion         = "v0.93.1"
	prometheusVersion       = "v0.314.0"
	nodeExporterVersion     = "v1.12.1"
	alertmanagerVersion     = "v0.34.0"
	kubeStateMetricsVersion = "v2.20.0"

	// Grafana is the image of the stand-in for Grafana. Package supply adds it, as it only answers its probes.
	Grafana = "eco2.example/stand-in/grafana:v13.2.0"

	// nobody is the user of all containers.
	nobody = "65534"
)

// Add builds the binaries that are not built yet and adds the images to the mirror. repo is the path of the project's
// checkout. Add writes its progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) error {
	versions := map[string]string{
		"prometheus-operator": operatorVersion, "prometheus": prometheusVersion, "node-exporter": nodeExporterVersion,
		"alertmanager": alertmanagerVersion, "kube-state-metrics": kubeStateMetricsVersion,
	}
	built := map[string]mirror.Built{}
	for name, version := range versions {
		b, err := mirror.BuildProject(ctx, repo, name, version, out)
		if err != nil {
			return err
		}
		built[name] = b
	}
	for _, image := range images(built) {
		if err := m.AddImage(ctx, image, out); err != nil {
			return err
		}
	}
	return nil
}

// Images returns the names of the images that Add serves, and of Grafana.
func Images() []string {
	names := []string{Grafana}
	for _, image := range images(nil) {
		names = append(names, image.Name)
	}
	return names
}

// images returns all images of the chart except the stand-ins for Grafana and for the certificate's Job.
func images(built map[string]mirror.Built) []mirror.Image {
	upstream := func(name, project, binary string) mirror.Image {
		path := "/bin/" + binary
		return mirror.Image{Name: name, Files: map[string]string{path: built[project].Binary(binary)}, Entrypoint: []string{path}, User: nobody}
	}
	return []mirror.Image{
		upstream("quay.io/prometheus-operator/prometheus-operator:"+operatorVersion, "prometheus-operator", "operator"),
		upstream("quay.io/prometheus-operator/prometheus-config-reloader:"+operatorVersion, "prometheus-operator", "prometheus-config-reloader"),
		upstream("quay.io/prometheus/prometheus:v"+mirror.PrometheusRelease(prometheusVersion), "prometheus", "prometheus"),
		upstream("quay.io/prometheus/node-exporter:"+nodeExporterVersion, "node-exporter", "node-exporter"),
		upstream("quay.io/prometheus/alertmanager:"+alertmanagerVersion, "alertmanager", "alertmanager"),
		upstream("registry.k8s.io/kube-state-metrics/kube-state-metrics:"+kubeStateMetricsVersion, "kube-state-metrics", "kube-state-metrics"),
	}
}
