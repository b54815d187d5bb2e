package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// argoCDIngress is Argo CD's door: the load balancer ends TLS and speaks HTTP to the NodePort, which is
// what the server is told to expect.
func (p *Platform) argoCDIngress(ctx *pulumi.Context, controller, dns pulumi.Resource) error {
	const name, class, service, port = "argocd", "alb", "argocd-server", 80
	// The least that its controller's webhook judges.
	webhook, err := p.webhook(ctx, "aws-load-balancer-controller", pulumi.Map{
		"apiVersion": pulumi.String("networking.k8s.io/v1"), "kind": pulumi.String("Ingress"),
		"metadata": pulumi.Map{"name": pulumi.String(name), "namespace": pulumi.String(argoCD)},
		"spec": pulumi.Map{
			"ingressClassName": pulumi.String(class),
			"defaultBackend": pulumi.Map{"service": pulumi.Map{
				"name": pulumi.String(service), "port": pulumi.Map{"number": pulumi.Int(port)},
			}},
		},
	}, controller)
	if err != nil {
		return err
	}
	annotation := func(name string) string { return "alb.ingress.kubernetes.io/" + name }
	ingress, err := networkingv1.NewIngress(ctx, name, &networkingv1.IngressArgs{
		Metadata: metav1.ObjectMetaArgs{
			Name: pulumi.String(name), Namespace: pulumi.String(argoCD),
			Annotations: pulumi.StringMap{
				annotation("scheme"):      pulumi.String("internet-facing"),
				annotation("target-type"): pulumi.String("instance"),
				// All Ingresses of the cluster share one load balancer.
				annotation("group.name"):      pulumi.String(p.config.Name),
				annotation("listen-ports"):    pulumi.String(`[{"HTTP":80},{"HTTPS":443}]`),
				annotation("ssl-redirect"):    pulumi.String("443"),
				annotation("certificate-arn"): p.infra.CertificateARN,
				// The one group: without this line the controller would want to make its own.
				annotation("security-groups"): p.infra.SecurityGroup.Group.ID(),
				// Named, so that the load balancer leaves the subnet of a zone that the stack gives up. Discovered
				// subnets include that one, and its network interface there would block the subnet's delete.
				annotation("subnets"):              p.infra.SubnetList(),
				annotation("backend-protocol"):     pulumi.String("HTTP"),
				annotation("healthcheck-protocol"): pulumi.String("HTTP"),
				annotation("healthcheck-path"):     pulumi.String("/healthz"),
				annotation("success-codes"):        pulumi.String("200"),
				// The provider would wait for the load balancer's address; external-dns does that better.
				"pulumi.com/skipAwait": pulumi.String("true"),
			},
		},
		Spec: networkingv1.IngressSpecArgs{
			IngressClassName: pulumi.String(class),
			Rules: networkingv1.IngressRuleArray{networkingv1.IngressRuleArgs{
				Host: pulumi.String("argocd." + p.config.Domain),
				Http: networkingv1.HTTPIngressRuleValueArgs{Paths: networkingv1.HTTPIngressPathArray{networkingv1.HTTPIngressPathArgs{
					Path: pulumi.String("/"), PathType: pulumi.String("Prefix"),
					Backend: networkingv1.IngressBackendArgs{Service: networkingv1.IngressServiceBackendArgs{
						Name: pulumi.String(service),
						Port: networkingv1.ServiceBackendPortArgs{Number: pulumi.Int(port)},
					}},
				}}},
			}},
		},
	}, p.with(webhook, dns, p.cluster.ArgoCD)...)
	if err != nil {
		return fmt.Errorf("creating ingress argocd: %w", err)
	}
	p.made = append(p.made, ingress)
	return nil
}

// inCluster is the API server of the cluster that Argo CD runs in.
const inCluster = "https://kubernetes.default.svc"

// rootApplication hands the workloads to Argo CD: an app of apps with sync waves, in a repository of its
// own. Argo CD may do anything in the cluster, so its projects say what that repository may: the root's
// holds Applications and nothing else, and what these bring stays in the workloads' namespaces.
func (p *Platform) rootApplication(ctx *pulumi.Context) error {
	source := p.config.GitOps
	if source.Repository == "" {
		return nil
	}
	applications, err := p.project(ctx, "root", "The Applications of "+p.config.Name, pulumi.Map{
		"destinations":             destinations(argoCD),
		"clusterResourceWhitelist": pulumi.Array{},
		// Without AppProject: whoever could make one could admit himself to anything.
		"namespaceResourceWhitelist": kinds("argoproj.io", "Application", "ApplicationSet"),
	})
	if err != nil {
		return err
	}
	workloads, err := p.project(ctx, string(p.config.Environment), "The workloads of "+p.config.Name, pulumi.Map{
		"destinations": destinations(workloads()...),
		// Any kind in these namespaces; of cluster-wide kinds only what gives nobody more rights.
		"clusterResourceWhitelist": kinds("scheduling.k8s.io", "PriorityClass"),
	})
	if err != nil {
		return err
	}
	// An Application whose project does not exist is refused. Workloads need what the releases bring: classes,
	// stores, operators.
	application, err := apiextensions.NewCustomResource(ctx, "root", &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("argoproj.io/v1alpha1"),
		Kind:       pulumi.String("Application"),
		Metadata:   metav1.ObjectMetaArgs{Name: pulumi.String("root"), Namespace: pulumi.String(argoCD)},
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{
			"project": pulumi.String("root"),
			"source": pulumi.Map{
				"repoURL":        pulumi.String(source.Repository),
				"targetRevision": pulumi.String(source.Revision),
				"path":           pulumi.String(source.Path),
				// Instructions for kustomize are no object that a cluster knows.
				"directory": pulumi.Map{
					"recurse": pulumi.Bool(true),
					"exclude": pulumi.String("{kustomization.yaml,*/kustomization.yaml}"),
				},
			},
			"destination": pulumi.Map{"server": pulumi.String(inCluster), "namespace": pulumi.String(argoCD)},
			"syncPolicy": pulumi.Map{
				"automated":   pulumi.Map{"prune": pulumi.Bool(true), "selfHeal": pulumi.Bool(true)},
				"syncOptions": pulumi.ToStringArray([]string{"ServerSideApply=true"}),
			},
		}},
	}, p.with(append([]pulumi.Resource{applications, workloads}, p.made...)...)...)
	if err != nil {
		return fmt.Errorf("creating application root: %w", err)
	}
	p.made = append(p.made, applications, workloads, application)
	return nil
}

// project declares what Applications of a project may take from the one repository, and put where.
func (p *Platform) project(ctx *pulumi.Context, name, description string, admits pulumi.Map) (pulumi.Resource, error) {
	spec := pulumi.Map{
		"description": pulumi.String(description),
		"sourceRepos": pulumi.ToStringArray([]string{p.config.GitOps.Repository}),
	}
	for key, value := range admits {
		spec[key] = value
	}
	project, err := apiextensions.NewCustomResource(ctx, "project-"+name, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String("argoproj.io/v1alpha1"),
		Kind:        pulumi.String("AppProject"),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: pulumi.String(argoCD)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, p.with(p.cluster.ArgoCD)...)
	if err != nil {
		return nil, fmt.Errorf("creating project %s: %w", name, err)
	}
	return project, nil
}

// destinations are namespaces of this cluster.
func destinations(namespaces ...string) pulumi.Array {
	var list pulumi.Array
	for _, name := range namespaces {
		list = append(list, pulumi.Map{"server": pulumi.String(inCluster), "namespace": pulumi.String(name)})
	}
	return list
}

// kinds are those of one API group.
func kinds(group string, names ...string) pulumi.Array {
	var list pulumi.Array
	for _, name := range names {
		list = append(list, pulumi.Map{"group": pulumi.String(group), "kind": pulumi.String(name)})
	}
	return list
}
