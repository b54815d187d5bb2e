package platform

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

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

// workloads returns the namespaces of what the GitOps repository deploys: one for each API domain of the node table,
// and those of the data services. The program declares them itself, so that their network policies are in force before
// the first pod starts.
func workloads() []string { return append(infra.Domains(), dataNamespaces...) }

func (p *platform) namespaces(ctx *pulumi.Context) (map[string]pulumi.Resource, error) {
	namespaces := map[string]pulumi.Resource{}
	for _, name := range append([]string{platformSystem, dataSystem, messagingSystem, monitoring}, workloads()...) {
		namespace, err := corev1.NewNamespace(ctx, name, &corev1.NamespaceArgs{
			Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(name)},
		}, p.objectOptions(p.cluster.Ready)...)
		if err != nil {
			return nil, fmt.Errorf("creating namespace %s: %w", name, err)
		}
		namespaces[name] = namespace
		p.all = append(p.all, namespace)
	}
	return namespaces, nil
}
