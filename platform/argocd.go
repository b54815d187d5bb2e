package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// These describe the Ingress of Argo CD and the Service behind it.
const (
	ingressName       = "argocd"
	ingressClass      = "alb"
	argoCDServer      = "argocd-server"
	argoCDServicePort = 80
)

// argoCDIngress declares the Ingress of Argo CD, on a listener that only administrators reach. The load balancer
// terminates TLS and sends plain HTTP to the NodePort, as Argo CD's server is configured to expect.
func (p *Platform) argoCDIngress(ctx *pulumi.Context, controller *loadBalancerController, dns *externalDNS) error {
	return p.ingress(ctx, ingressName, map[string]string{
		"listen-ports":         fmt.Sprintf(`[{"HTTPS":%d}]`, config.ArgoCDPort),
		"backend-protocol":     "HTTP",
		"healthcheck-protocol": "HTTP",
		"healthcheck-path":     "/healthz",
		"success-codes":        "200",
	}, networkingv1.IngressServiceBackendArgs{
		Name: pulumi.String(argoCDServer),
		Port: networkingv1.ServiceBackendPortArgs{Number: pulumi.Int(argoCDServicePort)},
	}, controller, dns)
}

// webIngress declares the listeners that the workloads' Ingresses share: 443, with the certificate, and 80, which
// redirects to it. Without them each workload would have to set the redirect itself. Listeners need a rule: this one
// redirects Argo CD's host to its own listener.
func (p *Platform) webIngress(ctx *pulumi.Context, controller *loadBalancerController, dns *externalDNS) error {
	const action = "to-argocd"
	return p.ingress(ctx, "web", map[string]string{
		"listen-ports": `[{"HTTP":80},{"HTTPS":443}]`,
		"ssl-redirect": "443",
		"actions." + action: fmt.Sprintf(
			`{"type":"redirect","redirectConfig":{"port":"%d","statusCode":"HTTP_302"}}`, config.ArgoCDPort),
	}, networkingv1.IngressServiceBackendArgs{
		Name: pulumi.String(action),
		// The controller then takes the name of the service for that of an action.
		Port: networkingv1.ServiceBackendPortArgs{Name: pulumi.String("use-annotation")},
	}, controller, dns)
}

// ingress declares an Ingress for all paths of Argo CD's host. annotations are the load balancer controller's, without
// their prefix, in addition to those that every Ingress of the platform has.
func (p *Platform) ingress(
	ctx *pulumi.Context, name string, annotations map[string]string, backend networkingv1.IngressServiceBackendArgs, after ...pulumi.Resource,
) error {
	conf, i := p.shared.config, p.shared.infra
	annotation := func(name string) string { return "alb.ingress.kubernetes.io/" + name }
	all := pulumi.StringMap{
		annotation("scheme"):      pulumi.String("internet-facing"),
		annotation("target-type"): pulumi.String("instance"),
		// All Ingresses of the cluster share one load balancer.
		annotation("group.name"):      pulumi.String(conf.Name),
		annotation("certificate-arn"): i.CertificateARN,
		// The cluster's one group. Without this annotation the controller would try to create its own.
		annotation("security-groups"): i.SecurityGroup.Group.ID(),
		// Listed explicitly, so that the load balancer leaves the subnet of a zone that is removed from the stack.
		// Automatically discovered subnets would still include that one, and the load balancer's network interface in it
		// would block its deletion.
		annotation("subnets"): i.SubnetList(),
		// Without this annotation the provider would wait for the load balancer's address. external-dns follows that
		// address by itself.
		"pulumi.com/skipAwait": pulumi.String("true"),
	}
	for name, value := range annotations {
		all[annotation(name)] = pulumi.String(value)
	}
	_, err := networkingv1.NewIngress(ctx, name, &networkingv1.IngressArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: pulumi.String(argoCD), Annotations: all},
		Spec: networkingv1.IngressSpecArgs{
			IngressClassName: pulumi.String(ingressClass),
			Rules: networkingv1.IngressRuleArray{networkingv1.IngressRuleArgs{
				Host: pulumi.String("argocd." + conf.Domain),
				Http: networkingv1.HTTPIngressRuleValueArgs{Paths: networkingv1.HTTPIngressPathArray{networkingv1.HTTPIngressPathArgs{
					Path: pulumi.String("/"), PathType: pulumi.String("Prefix"),
					Backend: networkingv1.IngressBackendArgs{Service: backend},
				}}},
			}},
		},
	}, p.shared.object(p, after...))
	if err != nil {
		return fmt.Errorf("creating ingress %s: %w", name, err)
	}
	return nil
}
