package simulated

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/internal/fault"
)

// Whatever resource a first update fails at, the stack can be destroyed, and the update can be run again. The update
// continues with everything that does not depend on the failed resource, so that as much as possible exists.
func TestAFirstUpdateThatFails(t *testing.T) {
	t.Parallel()
	const (
		command = "command:remote:Command"
		release = "kubernetes:helm.sh/v3:Release"
	)
	kind := func(typ string) string { return typ[strings.LastIndex(typ, ":")+1:] }
	fails := func(t *testing.T, typ, name string) *world.World {
		t.Helper()
		t.Parallel()
		w := newWorld(t, "dev", "")
		w.Options.Config["environment"] = "prod" // with volumes
		w.Options.Config["gitops"] = map[string]any{"repository": "https://git.example/workloads.git", "revision": "main", "path": "apps"}
		f := fault.Fault{Kind: fault.Failed, Method: "Create", Type: typ, Name: name, Times: 1}
		require.NoError(t, fault.Plant(w.Dir, f))
		printed, err := w.Up("--continue-on-error")
		require.Error(t, err)
		require.Contains(t, printed, "planted fault: cannot create "+typ)
		return w
	}
	for _, at := range []struct{ typ, name string }{
		{"aws:ec2/instance:Instance", "k8s-master"},
		{"aws:acm/certificateValidation:CertificateValidation", "domain"},
		{command, "prepare-k8s-redis"},
		{command, "init-k8s-master"},
		{command, "admin-kubeconfig"},
		{command, "member-k8s-redis"},
		{command, "ready"},
		{command, "argocd"},
		{command, "early-sweep"},
		{command, "crds-external-secrets"},
		{"kubernetes:core/v1:Namespace", "monitoring"},
		{"kubernetes:storage.k8s.io/v1:StorageClass", "gp3"},
		{"kubernetes:networking.k8s.io/v1:NetworkPolicy", "argocd"},
		{release, "aws-load-balancer-controller"},
		{release, "aws-ebs-csi-driver"},
		{release, "external-secrets"},
		{release, "external-dns"},
		{release, "redis-operator"},
		{release, "kube-prometheus-stack"},
		{command, "external-secrets-webhook"},
		{"kubernetes:external-secrets.io/v1:ClusterSecretStore", "aws-ssm"},
		{"kubernetes:external-secrets.io/v1:ExternalSecret", "grafana-admin"},
		{command, "aws-load-balancer-controller-webhook"},
		{command, "dns-records"},
		{"kubernetes:networking.k8s.io/v1:Ingress", "argocd"},
		{"kubernetes:argoproj.io/v1alpha1:AppProject", "project-prod"},
		{"kubernetes:argoproj.io/v1alpha1:Application", "root"},
		{command, "sweep"},
	} {
		t.Run("and is destroyed: "+kind(at.typ)+" "+at.name, func(t *testing.T) {
			w := fails(t, at.typ, at.name)
			w.Must(w.Destroy())
			assert.Empty(t, w.Inventory())
		})
	}
	for _, at := range []struct{ typ, name string }{
		{release, "external-dns"}, {"kubernetes:networking.k8s.io/v1:Ingress", "argocd"}, {command, "sweep"},
	} {
		t.Run("and is run again: "+kind(at.typ)+" "+at.name, func(t *testing.T) {
			w := fails(t, at.typ, at.name)
			w.Must(w.Up())
			assert.Empty(t, w.Steps())
			w.Changes()
			w.Must(w.Destroy())
			assert.Equal(t, sweeps, world.InCluster(w.Changes()))
			assert.Empty(t, w.Inventory())
		})
	}
	// After the blocked destroy the state no longer has the platform, so there is no way back to a running stack.
	t.Run("and whose destroy is blocked, can be destroyed later", func(t *testing.T) {
		w := fails(t, command, "sweep")
		require.NoError(t, w.Cluster().SetDown(true))
		before := w.Inventory().Counts()
		w.Changes()
		printed, err := w.Destroy()
		require.Error(t, err)
		assert.Contains(t, printed, "error: the cluster's API does not answer")
		assert.Equal(t, []string{"Delete command:remote:Command early-sweep"}, w.Changes())
		assert.Equal(t, before, w.Inventory().Counts())
		require.NoError(t, w.Cluster().SetDown(false))
		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
	})
}
