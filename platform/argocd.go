package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// argoCDIngress declares the Ingress of Argo CD. The load balancer terminates TLS and sends plain HTTP to the NodePort,
// as Argo CD's server is configured to expect.
func (p *platform) argoCDIngress(ctx *pulumi.Context, controller, dns pulumi.Resource) error {
	const name, class, service, port = "argocd", "alb", "argocd-server", 80
	// This is the smallest Ingress that the controller's webhook validates.
	webhook, err := p.awaitWebhook(ctx, "aws-load-balancer-controller", pulumi.Map{
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
				// The cluster's one group. Without this annotation the controller would try to create its own.
				annotation("security-groups"): p.infra.SecurityGroup.Group.ID(),
				// Listed explicitly, so that the load balancer leaves the subnet of a zone that is removed from the stack.
				// Automatically discovered subnets would still include that one, and the load balancer's network
				// interface in it would block its deletion.
				annotation("subnets"):              p.infra.SubnetList(),
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
	}, p.objectOptions(webhook, dns, p.cluster.ArgoCD)...)
	if err != nil {
		return fmt.Errorf("creating ingress argocd: %w", err)
	}
	p.all = append(p.all, ingress)
	return nil
}

// inCluster is the address by which Argo CD refers to the API server of its own cluster.
const inCluster = "https://kubernetes.default.svc"

// rootApplication declares the Application through which Argo CD deploys the workloads: an app of apps with sync waves,
// in a separate repository. Argo CD itself may do anything in the cluster, so its projects restrict that repository:
// the project of the root Application allows nothing but Applications, and theirs allows only the workloads'
// namespaces. It does nothing if the stack has no repository.
func (p *platform) rootApplication(ctx *pulumi.Context) error {
	source := p.config.GitOps
	if source.Repository == "" {
		return nil
	}
	applications, err := p.project(ctx, "root", "The Applications of "+p.config.Name, pulumi.Map{
		"destinations":             destinations(argoCD),
		"clusterResourceWhitelist": pulumi.Array{},
		// AppProject is not among them: whoever can create a project can give himself any permission.
		"namespaceResourceWhitelist": kinds("argoproj.io", "Application", "ApplicationSet"),
	})
	if err != nil {
		return err
	}
	workloads, err := p.project(ctx, string(p.config.Environment), "The workloads of "+p.config.Name, pulumi.Map{
		"destinations": destinations(workloads()...),
		// In these namespaces every kind is allowed; of the cluster-scoped kinds only one that grants no permissions.
		"clusterResourceWhitelist": kinds("scheduling.k8s.io", "PriorityClass"),
	})
	if err != nil {
		return err
	}
	// Argo CD rejects an Application whose project does not exist. Workloads need what the releases install: storage and
	// ingress classes, the secret store, operators.
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
				// A kustomization is input for kustomize and not an object that can be applied to a cluster.
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
	}, p.objectOptions(append([]pulumi.Resource{applications, workloads}, p.all...)...)...)
	if err != nil {
		return fmt.Errorf("creating application root: %w", err)
	}
	p.all = append(p.all, applications, workloads, application)
	return nil
}

// project declares an Argo CD project. Its Applications may use only the workloads' repository and only what
// permissions allows, which is added to the project's spec.
func (p *platform) project(ctx *pulumi.Context, name, description string, permissions pulumi.Map) (pulumi.Resource, error) {
	spec := pulumi.Map{
		"description": pulumi.String(description),
		"sourceRepos": pulumi.ToStringArray([]string{p.config.GitOps.Repository}),
	}
	for key, value := range permissions {
		spec[key] = value
	}
	project, err := apiextensions.NewCustomResource(ctx, "project-"+name, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String("argoproj.io/v1alpha1"),
		Kind:        pulumi.String("AppProject"),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: pulumi.String(argoCD)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, p.objectOptions(p.cluster.ArgoCD)...)
	if err != nil {
		return nil, fmt.Errorf("creating project %s: %w", name, err)
	}
	return project, nil
}

// destinations returns namespaces of this cluster as destinations of a project.
func destinations(namespaces ...string) pulumi.Array {
	var list pulumi.Array
	for _, name := range namespaces {
		list = append(list, pulumi.Map{"server": pulumi.String(inCluster), "namespace": pulumi.String(name)})
	}
	return list
}

// kinds returns kinds of one API group in the format of a project's spec.
func kinds(group string, names ...string) pulumi.Array {
	var list pulumi.Array
	for _, name := range names {
		list = append(list, pulumi.Map{"group": pulumi.String(group), "kind": pulumi.String(name)})
	}
	return list
}
