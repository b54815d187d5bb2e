package platform

import (
	"fmt"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/component"
	"eco2/infra"
)

// These are the platform's namespaces. kube-system exists in every cluster; argocd is created with Argo CD.
const (
	platformSystem  = "platform-system"
	dataSystem      = "data-system"
	messagingSystem = "messaging-system"
	monitoring      = "monitoring"
	kubeSystem      = "kube-system"
	argoCD          = "argocd"
)

// dataNamespaces lists the namespaces of the stateful services that workloads share.
var dataNamespaces = []string{"postgres", "redis", "rabbitmq"}

// workloadNamespaces returns the namespaces of what the GitOps repository deploys: one for each API domain of the node
// table, and those of the data services.
func workloadNamespaces() []string { return append(infra.Domains(), dataNamespaces...) }

// namespaces are those of the platform and of the workloads, and the network policies of each. What runs in one of them
// depends on this component, so that the policies are in force before the first pod starts. Only what runs in kube-system
// starts before.
type namespaces struct {
	pulumi.ResourceState
	component.Children
}

// namespacesArgs holds the inputs of namespaces.
type namespacesArgs struct {
	*shared
}

// newNamespaces declares the namespaces with their network policies.
func newNamespaces(ctx *pulumi.Context, name string, args *namespacesArgs, opts ...pulumi.ResourceOption) (*namespaces, error) {
	n := &namespaces{}
	if err := component.Register(ctx, "eco2:platform:Namespaces", name, n, opts...); err != nil {
		return nil, err
	}
	created := []pulumi.Resource{args.earlySweep}
	for _, closed := range closedNamespaces(args.config) {
		var after []pulumi.Resource
		if closed.name != kubeSystem && closed.name != argoCD { // these exist
			namespace, err := corev1.NewNamespace(ctx, closed.name, &corev1.NamespaceArgs{
				Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(closed.name), Labels: namespaceLabels(closed.name)},
			}, args.object(n))
			if err != nil {
				return nil, fmt.Errorf("creating namespace %s: %w", closed.name, err)
			}
			after, created = append(after, namespace), append(created, namespace)
		}
		if err := closed.declarePolicies(ctx, args.shared, n, after...); err != nil {
			return nil, err
		}
	}
	// Pods get a token for the API only if they ask for one or have a service account of their own.
	if _, err := args.cluster.NewCommand(ctx, "default-accounts", &cluster.CommandArgs{
		Create: cluster.Script{Name: "accounts", Args: cluster.Arguments{}.
			Flag("namespaces", pulumi.String(strings.Join(workloadNamespaces(), ",")))},
		Minutes: 5,
	}, component.Child(n), component.DependsOn(created...)); err != nil {
		return nil, fmt.Errorf("declaring the default service accounts: %w", err)
	}
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{})
}
