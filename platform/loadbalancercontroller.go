package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// loadBalancerController returns the chart of the AWS Load Balancer Controller, which creates Application Load
// Balancers with the cluster's one security group for Ingresses.
func (p *platform) loadBalancerController() chart {
	selector, tolerations := onControlPlane()
	replicas := 1
	if p.prod() {
		replicas = 2
	}
	return chart{
		Release: "aws-load-balancer-controller", Namespace: kubeSystem,
		Repository: "https://aws.github.io/eks-charts", Name: "aws-load-balancer-controller", Version: "3.5.0",
		Values: pulumi.Map{
			"clusterName":  pulumi.String(p.config.Name),
			"region":       pulumi.String(p.config.Region),
			"vpcId":        p.infra.VPC.ID(),
			"replicaCount": pulumi.Int(replicas),
			"nodeSelector": selector,
			"tolerations":  tolerations,
			"resources":    resources("50m", "128Mi", "256Mi"),
			// The VPC cannot route to the addresses of pods.
			"defaultTargetType": pulumi.String("instance"),
			// AWS recommends this policy: TLS 1.2 with forward secrecy, and 1.3. The controller's default still allows
			// TLS 1.0.
			"defaultSSLPolicy": pulumi.String("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"),
			// Each Ingress names the group in an annotation; the controller creates no group and no rule.
			"enableBackendSecurityGroup": pulumi.Bool(false),
			// The service controller would create a separate load balancer and group for each Service of type
			// LoadBalancer. Its webhook would also reject every Service in the cluster while the controller is down.
			"controllerConfig":            pulumi.Map{"featureGates": pulumi.Map{"EnableServiceController": pulumi.Bool(false)}},
			"enableServiceMutatorWebhook": pulumi.Bool(false),
			"enableShield":                pulumi.Bool(false),
			"enableWaf":                   pulumi.Bool(false),
			"enableWafv2":                 pulumi.Bool(false),
			// Otherwise each upgrade would create a new webhook certificate and restart the controller needlessly.
			"keepTLSSecret": pulumi.Bool(true),
		},
	}
}
