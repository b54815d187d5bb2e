package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

const (
	argoCDAPI = "argoproj.io/v1alpha1"
	// inCluster is the address by which Argo CD refers to the API server of its own cluster.
	inCluster = "https://kubernetes.default.svc"
)

// Workloads is the root Application, through which Argo CD deploys the workloads: an app of apps with sync waves, in a
// separate repository.
//
// Argo CD itself may do anything in the cluster, so its projects restrict that repository: the project of the root
// Application allows nothing but Applications, and theirs allows only the workloads' namespaces.
type Workloads struct {
	pulumi.ResourceState
	component.Children
}

// WorkloadsArgs holds the inputs of Workloads.
type WorkloadsArgs struct {
	// Platform is what workloads need: storage and ingress classes, the secret store, operators.
	Platform *Platform
}

// NewWorkloads declares the root Application and its projects. Do not call it for a stack without a repository.
func NewWorkloads(ctx *pulumi.Context, name string, args *WorkloadsArgs, opts ...pulumi.ResourceOption) (*Workloads, error) {
	w := &Workloads{}
	if err := component.Register(ctx, "eco2:platform:Workloads", name, w, opts...); err != nil {
		return nil, err
	}
	shared := args.Platform.shared
	conf := shared.config
	applications, err := w.project(ctx, shared, "root", values{
		"description":              "The Applications of " + conf.Name,
		"destinations":             destinations(argoCD),
		"clusterResourceWhitelist": []string{},
		// AppProject is not among them: whoever can create a project can give himself any permission.
		"namespaceResourceWhitelist": kinds("argoproj.io", "Application", "ApplicationSet"),
	})
	if err != nil {
		return nil, err
	}
	workloads, err := w.project(ctx, shared, string(conf.Environment), values{
		"description":  "The workloads of " + conf.Name,
		"destinations": destinations(workloadNamespaces()...),
		// In these namespaces every kind is allowed; of the cluster-scoped kinds only one that grants no permissions.
		"clusterResourceWhitelist": kinds("scheduling.k8s.io", "PriorityClass"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := apiextensions.NewCustomResource(ctx, "root", &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String(argoCDAPI),
		Kind:       pulumi.String("Application"),
		Metadata:   metav1.ObjectMetaArgs{Name: pulumi.String("root"), Namespace: pulumi.String(argoCD)},
		OtherFields: kubernetes.UntypedArgs{"spec": values{
			"project": "root",
			"source": values{
				"repoURL":        conf.GitOps.Repository,
				"targetRevision": conf.GitOps.Revision,
				"path":           conf.GitOps.Path,
				// A kustomization is input for kustomize and not an object that can be applied to a cluster.
				"directory": values{"recurse": true, "exclude": "{kustomization.yaml,*/kustomization.yaml}"},
			},
			"destination": values{"server": inCluster, "namespace": argoCD},
			"syncPolicy": values{
				"automated":   values{"prune": true, "selfHeal": true},
				"syncOptions": []string{"ServerSideApply=true"},
			},
		}.input()},
	}, shared.object(w, args.Platform,
		applications, workloads)); err != nil { // Argo CD rejects an Application whose project does not exist
		return nil, fmt.Errorf("creating application root: %w", err)
	}
	return w, ctx.RegisterResourceOutputs(w, pulumi.Map{})
}

// project declares an Argo CD project. Its Applications may use only the workloads' repository and only what the spec
// allows.
func (w *Workloads) project(ctx *pulumi.Context, shared *shared, name string, spec values) (pulumi.Resource, error) {
	spec["sourceRepos"] = []string{shared.config.GitOps.Repository}
	project, err := apiextensions.NewCustomResource(ctx, "project-"+name, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String(argoCDAPI),
		Kind:        pulumi.String("AppProject"),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: pulumi.String(argoCD)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec.input()},
	}, shared.object(w))
	if err != nil {
		return nil, fmt.Errorf("creating project %s: %w", name, err)
	}
	return project, nil
}

// destinations returns namespaces of this cluster as destinations of a project.
func destinations(namespaces ...string) []values {
	var list []values
	for _, name := range namespaces {
		list = append(list, values{"server": inCluster, "namespace": name})
	}
	return list
}

// kinds returns kinds of one API group in the format of a project's spec.
func kinds(group string, names ...string) []values {
	var list []values
	for _, name := range names {
		list = append(list, values{"group": group, "kind": name})
	}
	return list
}
