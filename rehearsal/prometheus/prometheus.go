// Package prometheus gives the mirror the images of kube-prometheus-stack's chart. Prometheus, its operator with the
// reloader of configurations, Alertmanager, kube-state-metrics and the node exporter are real, built from their Go
// modules; Prometheus and Alertmanager have no pages, which their modules do not carry, and Prometheus finds its targets in Kubernetes only. Grafana
// is a stand-in that answers its probes, and the certificate's job is one of ours.
package prometheus

import (
	"context"
	"io"

	"eco2/rehearsal/mirror"
)

// What the chart in rehearsal/charts asks for. A test compares the two.
const (
	operatorVersion         = "v0.93.1"
	prometheusVersion       = "v0.314.0"
	nodeExporterVersion     = "v1.12.1"
	alertmanagerVersion     = "v0.34.0"
	kubeStateMetricsVersion = "v2.20.0"

	// idlePath is where a stand-in's binary is in its image.
	idlePath = "/idle"
	// nobody is whom all of them run as.
	nobody = "65534"
)

// standIns are images of what only answers, and where it does.
var standIns = map[string]string{
	"eco2.example/stand-in/grafana:v13.2.0": ":3000",
}

// Add builds what is missing and serves the images. repo is the project's checkout, idle the built cmd/idle, and
// progress goes to out.
func Add(ctx context.Context, m mirror.Mirror, repo, idle string, out io.Writer) error {
	wanted := map[string]string{
		"prometheus-operator": operatorVersion, "prometheus": prometheusVersion, "node-exporter": nodeExporterVersion,
		"alertmanager": alertmanagerVersion, "kube-state-metrics": kubeStateMetricsVersion,
	}
	built := map[string]mirror.Built{}
	for name, version := range wanted {
		b, err := mirror.Build(ctx, repo, name, version, out)
		if err != nil {
			return err
		}
		built[name] = b
	}
	for _, image := range images(built, idle) {
		if err := m.AddImage(ctx, image, out); err != nil {
			return err
		}
	}
	return nil
}

// Images are the names of all that Add serves.
func Images() (names []string) {
	for _, image := range images(nil, "") {
		names = append(names, image.Name)
	}
	return names
}

// images are all that the chart names but the certificate's job, whose binary others share.
func images(built map[string]mirror.Built, idle string) []mirror.Image {
	upstream := func(name, project, binary string) mirror.Image {
		path := "/bin/" + binary
		return mirror.Image{Name: name, Files: map[string]string{path: built[project].Binary(binary)}, Entrypoint: []string{path}, User: nobody}
	}
	all := []mirror.Image{
		upstream("quay.io/prometheus-operator/prometheus-operator:"+operatorVersion, "prometheus-operator", "operator"),
		upstream("quay.io/prometheus-operator/prometheus-config-reloader:"+operatorVersion, "prometheus-operator", "prometheus-config-reloader"),
		upstream("quay.io/prometheus/prometheus:v"+mirror.PrometheusRelease(prometheusVersion), "prometheus", "prometheus"),
		upstream("quay.io/prometheus/node-exporter:"+nodeExporterVersion, "node-exporter", "node-exporter"),
		upstream("quay.io/prometheus/alertmanager:"+alertmanagerVersion, "alertmanager", "alertmanager"),
		upstream("registry.k8s.io/kube-state-metrics/kube-state-metrics:"+kubeStateMetricsVersion, "kube-state-metrics", "kube-state-metrics"),
	}
	for name, address := range standIns {
		all = append(all, mirror.Image{
			Name: name, Files: map[string]string{idlePath: idle}, Entrypoint: []string{idlePath, address}, User: nobody,
		})
	}
	return all
}
