package platform

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// redisOperator is the operator that runs the Redis instances which workloads declare.
type redisOperator struct {
	pulumi.ResourceState
	component.Children
}

// redisOperatorArgs holds the inputs of redisOperator.
type redisOperatorArgs struct {
	*shared
	Namespaces *namespaces
}

// newRedisOperator declares the operator.
func newRedisOperator(ctx *pulumi.Context, name string, args *redisOperatorArgs, opts ...pulumi.ResourceOption) (*redisOperator, error) {
	o := &redisOperator{}
	if err := component.Register(ctx, "eco2:platform:RedisOperator", name, o, opts...); err != nil {
		return nil, err
	}
	if _, err := args.newRelease(ctx, "redis-operator", &releaseArgs{
		Namespace: dataSystem,
		// Chart 0.26.0 passes a feature gate that its operator does not know, so the operator exits; 0.26.1 is the first
		// that works.
		Chart: chart{Repository: "https://ot-container-kit.github.io/helm-charts", Name: "redis-operator", Version: "0.26.1"},
		Values: values{
			"nodeSelector": controlPlaneSelector,
			"tolerations":  controlPlaneTolerations,
			// Helm merges these with the chart's values, so the chart's CPU limit of 500m stays.
			"resources": resources("50m", "96Mi", "256Mi"),
			// The chart sets none of what the namespace requires. The image's user is not root.
			"podSecurityContext": values{"runAsNonRoot": true, "seccompProfile": values{"type": "RuntimeDefault"}},
			"securityContext": values{
				"allowPrivilegeEscalation": false,
				"capabilities":             values{"drop": []string{"ALL"}},
				"readOnlyRootFilesystem":   true,
			},
		},
	}, o, args.Namespaces); err != nil {
		return nil, err
	}
	return o, ctx.RegisterResourceOutputs(o, pulumi.Map{})
}
