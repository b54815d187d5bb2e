package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// rabbitMQOperator runs the RabbitMQ clusters that workloads ask for. Its makers publish no chart; this one
// is maintained by others, pins the operator's image by digest (2.22.4, although its appVersion says 2.22.3), and
// can do without cert-manager.
func (p *Platform) rabbitMQOperator() Chart {
	selector, tolerations := onControlPlane()
	return Chart{
		Release: "rabbitmq-cluster-operator", Namespace: messagingSystem,
		Repository: "oci://registry-1.docker.io/cloudpirates/rabbitmq-cluster-operator", Name: "rabbitmq-cluster-operator", Version: "0.6.5",
		Values: pulumi.Map{
			"useCertManager": pulumi.Bool(false),
			"clusterOperator": pulumi.Map{
				// The webhook is what needs cert-manager.
				"webhook":      pulumi.Map{"enabled": pulumi.Bool(false)},
				"nodeSelector": selector,
				"tolerations":  tolerations,
				"resources":    resources("50m", "96Mi", "256Mi"),
				// The namespace's policies are this program's.
				"networkPolicy": pulumi.Map{"enabled": pulumi.Bool(false)},
			},
			"msgTopologyOperator": pulumi.Map{
				"enabled": pulumi.Bool(false),
				// Its policy is rendered even while the operator is off.
				"networkPolicy": pulumi.Map{"enabled": pulumi.Bool(false)},
			},
		},
	}
}
