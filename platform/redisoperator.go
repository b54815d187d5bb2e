package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// redisOperator runs the Redis instances that workloads ask for. Chart 0.26.0 passes its operator a gate
// that it does not know, and exits; 0.26.1 is the first that works.
func (p *Platform) redisOperator() Chart {
	selector, tolerations := onControlPlane()
	return Chart{
		Release: "redis-operator", Namespace: dataSystem,
		Repository: "https://ot-container-kit.github.io/helm-charts", Name: "redis-operator", Version: "0.26.1",
		Values: pulumi.Map{
			"nodeSelector": selector,
			"tolerations":  tolerations,
			// Helm merges these with the chart's own, so the operator keeps the chart's CPU limit of 500m.
			"resources": resources("50m", "96Mi", "256Mi"),
		},
	}
}
