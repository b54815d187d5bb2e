package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// loadBalancerController turns Ingresses into Application Load Balancers that carry the cluster's one
// security group.
func (p *Platform) loadBalancerController() Chart {
	selector, tolerations := onControlPlane()
	replicas := 1
	if p.prod() {
		replicas = 2
	}
	return Chart{
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
			// Pods have addresses that AWS cannot route to.
			"defaultTargetType": pulumi.String("instance"),
			// What AWS recommends: TLS 1.2 with forward secrecy, and 1.3. The controller's own default still takes TLS 1.0.
			"defaultSSLPolicy": pulumi.String("ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"),
			// The group comes from each Ingress's annotation; the controller makes none and opens nothing.
			"enableBackendSecurityGroup": pulumi.Bool(false),
			// A Service of type LoadBalancer would get a load balancer of its own, with a group of its own. Its
			// webhook would also refuse every Service of the cluster while the controller is down.
			"controllerConfig":            pulumi.Map{"featureGates": pulumi.Map{"EnableServiceController": pulumi.Bool(false)}},
			"enableServiceMutatorWebhook": pulumi.Bool(false),
			"enableShield":                pulumi.Bool(false),
			"enableWaf":                   pulumi.Bool(false),
			"enableWafv2":                 pulumi.Bool(false),
			// A new webhook certificate with each upgrade would restart the controller for nothing.
			"keepTLSSecret": pulumi.Bool(true),
		},
	}
}
