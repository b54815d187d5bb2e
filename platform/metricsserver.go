package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// metricsServer serves what nodes and pods use of CPU and memory: `kubectl top` and every HorizontalPodAutoscaler
// need it. It verifies the kubelets' certificates against the cluster's CA, which is its default.
func (p *Platform) metricsServer() Chart {
	selector, tolerations := onControlPlane()
	return Chart{
		Release: "metrics-server", Namespace: kubeSystem,
		Repository: "https://kubernetes-sigs.github.io/metrics-server/", Name: "metrics-server", Version: "3.14.0",
		Values: pulumi.Map{
			"nodeSelector": selector,
			"tolerations":  tolerations,
			"resources":    resources("50m", "64Mi", "256Mi"),
			// The API server verifies it too. Helm makes the certificate once, and nobody would renew it.
			"tls":        pulumi.Map{"type": pulumi.String("helm"), "helm": pulumi.Map{"certDurationDays": pulumi.Int(3650)}},
			"apiService": pulumi.Map{"insecureSkipTLSVerify": pulumi.Bool(false)},
		},
	}
}
