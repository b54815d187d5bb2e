package platform

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// rabbitMQOperator is the operator that runs the RabbitMQ clusters which workloads declare.
type rabbitMQOperator struct {
	pulumi.ResourceState
	component.Children
}

// rabbitMQOperatorArgs holds the inputs of rabbitMQOperator.
type rabbitMQOperatorArgs struct {
	*shared
	Namespaces *namespaces
}

// newRabbitMQOperator declares the operator.
func newRabbitMQOperator(ctx *pulumi.Context, name string, args *rabbitMQOperatorArgs, opts ...pulumi.ResourceOption) (*rabbitMQOperator, error) {
	o := &rabbitMQOperator{}
	if err := component.Register(ctx, "eco2:platform:RabbitMQOperator", name, o, opts...); err != nil {
		return nil, err
	}
	if _, err := args.newRelease(ctx, "rabbitmq-cluster-operator", &releaseArgs{
		Namespace: messagingSystem,
		// Upstream publishes no chart. This one is maintained by a third party, pins the operator's image by digest (2.22.4,
		// although its appVersion says 2.22.3), and can be installed without cert-manager.
		Chart: chart{Repository: "oci://registry-1.docker.io/cloudpirates/rabbitmq-cluster-operator", Name: "rabbitmq-cluster-operator", Version: "0.6.5"},
		Values: values{
			"useCertManager": false,
			"clusterOperator": values{
				// Only the webhook needs cert-manager.
				"webhook":      values{"enabled": false},
				"nodeSelector": controlPlaneSelector,
				"tolerations":  controlPlaneTolerations,
				"resources":    resources("50m", "96Mi", "256Mi"),
				// The program declares the network policies of the namespace itself.
				"networkPolicy": values{"enabled": false},
			},
			"msgTopologyOperator": values{
				"enabled": false,
				// The chart renders this policy even if the operator is disabled.
				"networkPolicy": values{"enabled": false},
			},
		},
	}, o, args.Namespaces); err != nil {
		return nil, err
	}
	return o, ctx.RegisterResourceOutputs(o, pulumi.Map{})
}
