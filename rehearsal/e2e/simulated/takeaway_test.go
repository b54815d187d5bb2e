package simulated

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/e2e/world"
)

// The domain is removed from a cluster in use: the load balancer is deleted first, then the records, then their
// controller and the certificate. Before the latter are touched, the update names the Ingresses that still use the
// domain.
func TestTheDomainIsTakenAway(t *testing.T) {
	t.Parallel()
	const instruction = "delete them or give them another host, and run the update again; see docs/operations.md, 'Taking the domain away'"
	w := newWorldUp(t)
	certificate := certificateOf(t, w)
	require.NotEmpty(t, certificate)
	ingress := func(name, host, certificate string) provider.Manifest {
		m := shop("", "")[0]
		m["metadata"] = map[string]any{"namespace": "chat", "name": name, "annotations": map[string]any{
			"alb.ingress.kubernetes.io/certificate-arn": certificate,
		}}
		m["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)["host"] = host
		return m
	}
	others := []provider.Manifest{
		ingress("below", "shop.dev.growbin.app", ""), ingress("itself", "dev.growbin.app", ""),
		ingress("all-below", "*.dev.growbin.app", ""), ingress("certificate", "shop.example", certificate),
		ingress("similar", "shop.otherdev.growbin.app", ""), ingress("parent", "growbin.app", ""),
	}
	for _, m := range others {
		_, err := w.Cluster().Apply(t.Context(), m, provider.ApplyOptions{Manager: "kubectl", Force: true})
		require.NoError(t, err)
	}
	w.Options.Config["domain"], w.Options.Config["hostedZoneId"] = "", ""

	w.Changes()
	printed, err := w.Up()
	require.Error(t, err)
	assert.Contains(t, printed, "these Ingresses still need dev.growbin.app or its certificate: chat/all-below, chat/below, chat/certificate, chat/itself; "+instruction)
	changes := w.Changes()
	assert.Contains(t, changes, "Delete kubernetes:networking.k8s.io/v1:Ingress argocd")
	for _, kept := range []string{"Delete kubernetes:helm.sh/v3:Release external-dns", "Delete aws:acm/certificate:Certificate domain"} {
		assert.NotContains(t, changes, kept)
	}
	assert.Equal(t, 1, w.Inventory().Counts()["certificate"])

	for _, m := range others {
		require.NoError(t, w.Cluster().Delete(t.Context(), m.Ref()))
	}
	printed = w.Must(w.Up())
	assert.Contains(t, printed, "external-dns has deleted its records")
	w.InOrder(w.Changes(), "Delete command:remote:Command dns-records", "Delete kubernetes:helm.sh/v3:Release external-dns",
		"Delete aws:iam/rolePolicy:RolePolicy control-plane-dns")
	assert.Empty(t, w.Steps())
	counts := w.Inventory().Counts()
	for _, gone := range []string{"loadbalancer", "targetGroup", "record", "certificate", "certificateValidation"} {
		assert.Zero(t, counts[gone], gone)
	}
	assert.Equal(t, 14, counts["networkInterface"])

	delete(w.Options.Config, "domain")
	delete(w.Options.Config, "hostedZoneId")
	w.Must(w.Up())
	assert.Empty(t, w.Steps())
	assert.Equal(t, devInventory, w.Inventory().Counts())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// certificateOf returns the ARN of the load balancer's certificate, or an empty string.
func certificateOf(t *testing.T, w *world.World) string {
	t.Helper()
	balancers, err := aws.Open(w.Dir).LoadBalancers()
	require.NoError(t, err)
	for _, b := range balancers {
		if arns := b.Certificates(); len(arns) == 1 {
			return arns[0]
		}
	}
	return ""
}

// The platform is removed from a cluster in use: what it created in AWS is deleted while its controllers still run,
// including the workloads' data. With the platform switched on again, everything runs.
func TestThePlatformIsTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	deployShop(t, w)

	w.Options.Config["platform"] = false
	assert.Contains(t, w.Steps(), "delete command:remote:Command sweep")
	assert.Contains(t, w.Must(w.Pulumi("preview")), "all volume claims and their data")
	w.Changes()
	printed := w.Must(w.Up())
	inOrder(t, printed, "stopping statefulset.apps/argocd-application-controller", "deleting ingress chat/shop",
		"deleting persistentvolumeclaim chat/data-shop-0", "nothing that the cluster made in AWS is left")
	changes := w.Changes()
	assert.Equal(t, "Delete command:remote:Command sweep", changes[0])
	w.InOrder(changes, "Delete kubernetes:networking.k8s.io/v1:Ingress argocd", "Delete kubernetes:helm.sh/v3:Release aws-load-balancer-controller",
		"Delete command:remote:Command early-sweep")
	assert.Empty(t, w.Steps())
	counts := w.Inventory().Counts()
	assert.Zero(t, counts["loadbalancer"])
	assert.Equal(t, 14+1, counts["volume"], "root disks, and the cluster's state")
	assert.Equal(t, 1, counts["record"], "the certificate's own")
	releases, err := w.Cluster().Releases()
	require.NoError(t, err)
	assert.Empty(t, releases)

	delete(w.Options.Config, "platform")
	w.Must(w.Up())
	assert.Empty(t, w.Steps())
	for _, kind := range []string{"Deployment argocd-applicationset-controller", "StatefulSet argocd-application-controller"} {
		assert.Equal(t, 1, replicasOf(t, w, kind), kind)
	}
	counts = w.Inventory().Counts()
	assert.Equal(t, 2, counts["loadbalancer"], "Argo CD brought the shop back")
	assert.Equal(t, 14+1+2, counts["volume"], "also the shop's two")
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// replicasOf returns the desired number of replicas of a workload of Argo CD, such as "Deployment argocd-server".
func replicasOf(t *testing.T, w *world.World, workload string) int {
	t.Helper()
	kind, name, _ := strings.Cut(workload, " ")
	live, err := w.Cluster().Get(t.Context(), provider.Ref{APIVersion: "apps/v1", Kind: kind, Namespace: "argocd", Name: name})
	require.NoError(t, err)
	replicas, set := live["spec"].(map[string]any)["replicas"].(float64)
	if !set {
		return 1
	}
	return int(replicas)
}
