package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// redisOperator returns the chart of the operator that runs the Redis instances which workloads declare. Chart 0.26.0
// passes a feature gate that its operator does not know, so the operator exits; 0.26.1 is the first that works.
func (p *platform) redisOperator() chart {
	selector, tolerations := onControlPlane()
	return chart{
		Release: "redis-operator", Namespace: dataSystem,
		Repository: "https://ot-container-kit.github.io/helm-charts", Name: "redis-operator", Version: "0.26.1",
		Values: pulumi.Map{
			"nodeSelector": selector,
			"tolerations":  tolerations,
			// Helm merges these with the chart's values, so the chart's CPU limit of 500m stays.
			"resources": resources("50m", "96Mi", "256Mi"),
		},
	}
}
