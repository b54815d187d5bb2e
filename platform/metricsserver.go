package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// metricsServer returns the chart of metrics-server, which serves the CPU and memory usage of nodes and pods. `kubectl
// top` and every HorizontalPodAutoscaler need it. By default it verifies the kubelets' certificates with the cluster's
// CA.
func (p *platform) metricsServer() chart {
	selector, tolerations := onControlPlane()
	return chart{
		Release: "metrics-server", Namespace: kubeSystem,
		Repository: "https://kubernetes-sigs.github.io/metrics-server/", Name: "metrics-server", Version: "3.14.0",
		Values: pulumi.Map{
			"nodeSelector": selector,
			"tolerations":  tolerations,
			"resources":    resources("50m", "64Mi", "256Mi"),
			// The API server verifies the certificate of metrics-server. Helm creates it once, and nothing renews it.
			"tls":        pulumi.Map{"type": pulumi.String("helm"), "helm": pulumi.Map{"certDurationDays": pulumi.Int(3650)}},
			"apiService": pulumi.Map{"insecureSkipTLSVerify": pulumi.Bool(false)},
		},
	}
}
