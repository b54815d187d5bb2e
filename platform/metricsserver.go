package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// metricsServer declares metrics-server, which serves the CPU and memory usage of nodes and pods. `kubectl top` and
// every HorizontalPodAutoscaler need it. By default it verifies the kubelets' certificates with the cluster's CA.
func (p *Platform) metricsServer(ctx *pulumi.Context) error {
	_, err := p.shared.newRelease(ctx, "metrics-server", &releaseArgs{
		Namespace: kubeSystem,
		Chart:     chart{Repository: "https://kubernetes-sigs.github.io/metrics-server/", Name: "metrics-server", Version: "3.14.0"},
		Values: values{
			"nodeSelector": controlPlaneSelector,
			"tolerations":  controlPlaneTolerations,
			"resources":    resources("50m", "64Mi", "256Mi"),
			// The API server verifies the certificate of metrics-server. Helm creates it once, and nothing renews it.
			"tls":        values{"type": "helm", "helm": values{"certDurationDays": 3650}},
			"apiService": values{"insecureSkipTLSVerify": false},
		},
	}, p)
	return err
}
