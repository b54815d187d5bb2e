package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// These describe the Ingress of Argo CD and the Service behind it.
const (
	ingressName  = "argocd"
	ingressClass = "alb"
	argoCDServer = "argocd-server"
	argoCDPort   = 80
)

// argoCDIngress declares the Ingress of Argo CD. The load balancer terminates TLS and sends plain HTTP to the NodePort,
// as Argo CD's server is configured to expect.
func (p *Platform) argoCDIngress(ctx *pulumi.Context, controller *loadBalancerController, dns *externalDNS) error {
	conf, i := p.shared.config, p.shared.infra
	annotation := func(name string) string { return "alb.ingress.kubernetes.io/" + name }
	_, err := networkingv1.NewIngress(ctx, ingressName, &networkingv1.IngressArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name: pulumi.String(ingressName), Namespace: pulumi.String(argoCD),
			Annotations: pulumi.StringMap{
				annotation("scheme"):      pulumi.String("internet-facing"),
				annotation("target-type"): pulumi.String("instance"),
				// All Ingresses of the cluster share one load balancer.
				annotation("group.name"):      pulumi.String(conf.Name),
				annotation("listen-ports"):    pulumi.String(`[{"HTTP":80},{"HTTPS":443}]`),
				annotation("ssl-redirect"):    pulumi.String("443"),
				annotation("certificate-arn"): i.CertificateARN,
				// The cluster's one group. Without this annotation the controller would try to create its own.
				annotation("security-groups"): i.SecurityGroup.Group.ID(),
				// Listed explicitly, so that the load balancer leaves the subnet of a zone that is removed from the stack.
				// Automatically discovered subnets would still include that one, and the load balancer's network
				// interface in it would block its deletion.
				annotation("subnets"):              i.SubnetList(),
				annotation("backend-protocol"):     pulumi.String("HTTP"),
				annotation("healthcheck-protocol"): pulumi.String("HTTP"),
				annotation("healthcheck-path"):     pulumi.String("/healthz"),
				annotation("success-codes"):        pulumi.String("200"),
				// Without this annotation the provider would wait for the load balancer's address. external-dns
				// follows that address by itself.
				"pulumi.com/skipAwait": pulumi.String("true"),
			},
		},
		Spec: networkingv1.IngressSpecArgs{
			IngressClassName: pulumi.String(ingressClass),
			Rules: networkingv1.IngressRuleArray{networkingv1.IngressRuleArgs{
				Host: pulumi.String("argocd." + conf.Domain),
				Http: networkingv1.HTTPIngressRuleValueArgs{Paths: networkingv1.HTTPIngressPathArray{networkingv1.HTTPIngressPathArgs{
					Path: pulumi.String("/"), PathType: pulumi.String("Prefix"),
					Backend: networkingv1.IngressBackendArgs{Service: networkingv1.IngressServiceBackendArgs{
						Name: pulumi.String(argoCDServer),
						Port: networkingv1.ServiceBackendPortArgs{Number: pulumi.Int(argoCDPort)},
					}},
				}}},
			}},
		},
	}, p.shared.object(p, controller, dns))
	if err != nil {
		return fmt.Errorf("creating ingress %s: %w", ingressName, err)
	}
	return nil
}
