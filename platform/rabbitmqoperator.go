package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// rabbitMQOperator returns the chart of the operator that runs the RabbitMQ clusters which workloads declare. Upstream
// publishes no chart. This one is maintained by a third party, pins the operator's image by digest (2.22.4, although
// its appVersion says 2.22.3), and can be installed without cert-manager.
func (p *platform) rabbitMQOperator() chart {
	selector, tolerations := onControlPlane()
	return chart{
		Release: "rabbitmq-cluster-operator", Namespace: messagingSystem,
		Repository: "oci://registry-1.docker.io/cloudpirates/rabbitmq-cluster-operator", Name: "rabbitmq-cluster-operator", Version: "0.6.5",
		Values: pulumi.Map{
			"useCertManager": pulumi.Bool(false),
			"clusterOperator": pulumi.Map{
				// Only the webhook needs cert-manager.
				"webhook":      pulumi.Map{"enabled": pulumi.Bool(false)},
				"nodeSelector": selector,
				"tolerations":  tolerations,
				"resources":    resources("50m", "96Mi", "256Mi"),
				// The program declares the network policies of the namespace itself.
				"networkPolicy": pulumi.Map{"enabled": pulumi.Bool(false)},
			},
			"msgTopologyOperator": pulumi.Map{
				"enabled": pulumi.Bool(false),
				// The chart renders this policy even if the operator is disabled.
				"networkPolicy": pulumi.Map{"enabled": pulumi.Bool(false)},
			},
		},
	}
}
