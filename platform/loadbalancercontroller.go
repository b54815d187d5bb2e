package platform

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// loadBalancerController is the AWS Load Balancer Controller, which creates Application Load Balancers with the
// cluster's one security group for Ingresses. Ingresses depend on this component: it exists once the controller's
// webhook answers.
type loadBalancerController struct {
	pulumi.ResourceState
	component.Children
}

// loadBalancerControllerArgs holds the inputs of loadBalancerController.
type loadBalancerControllerArgs struct {
	*shared
}

// newLoadBalancerController declares the controller.
func newLoadBalancerController(ctx *pulumi.Context, name string, args *loadBalancerControllerArgs, opts ...pulumi.ResourceOption) (*loadBalancerController, error) {
	l := &loadBalancerController{}
	if err := component.Register(ctx, "eco2:platform:LoadBalancerController", name, l, opts...); err != nil {
		return nil, err
	}
	replicas := 1
	if args.prod() {
		replicas = 2
	}
	release, err := args.newRelease(ctx, "aws-load-balancer-controller", &releaseArgs{
		Namespace: kubeSystem,
		Chart:     chart{Repository: "https://aws.github.io/eks-charts", Name: "aws-load-balancer-controller", Version: "3.5.0"},
		Values: values{
			"clusterName":  args.config.Name,
			"region":       args.config.Region,
			"vpcId":        args.infra.VPC.ID(),
			"replicaCount": replicas,
			"nodeSelector": controlPlaneSelector,
			"tolerations":  controlPlaneTolerations,
			"resources":    resources("50m", "128Mi", "256Mi"),
			// The VPC cannot route to the addresses of pods.
			"defaultTargetType": "instance",
			// AWS recommends this policy: TLS 1.2 with forward secrecy, and 1.3. The controller's default still allows
			// TLS 1.0.
			"defaultSSLPolicy": "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
			// Each Ingress names the group in an annotation; the controller creates no group and no rule.
			"enableBackendSecurityGroup": false,
			// The service controller would create a separate load balancer and group for each Service of type
			// LoadBalancer. Its webhook would also reject every Service in the cluster while the controller is down.
			"controllerConfig":            values{"featureGates": values{"EnableServiceController": false}},
			"enableServiceMutatorWebhook": false,
			"enableShield":                false,
			"enableWaf":                   false,
			"enableWafv2":                 false,
			// Otherwise each upgrade would create a new webhook certificate and restart the controller needlessly.
			"keepTLSSecret": true,
		},
	}, l)
	if err != nil {
		return nil, err
	}
	// This is the smallest Ingress that the webhook validates.
	if _, err := args.awaitWebhook(ctx, release, values{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
		"metadata": values{"name": ingressName, "namespace": argoCD},
		"spec": values{
			"ingressClassName": ingressClass,
			"defaultBackend":   values{"service": values{"name": argoCDServer, "port": values{"number": argoCDServicePort}}},
		},
	}, l); err != nil {
		return nil, err
	}
	return l, ctx.RegisterResourceOutputs(l, pulumi.Map{})
}
