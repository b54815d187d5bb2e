package machines

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
)

// staysUp lets a destroy fail at its first step, and brings the stack up again as docs/operations.md describes.
func (c *cluster) staysUp(t *testing.T) {
	t.Helper()
	finalizers := func(patch, kind string) {
		c.kubectl("--namespace=argocd", "patch", "ingress", "argocd", "--type="+kind, "--patch="+patch)
	}
	before := len(get[application](c, "applications", "--namespace=argocd"))
	finalizers(`[{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/held"}]`, "json")
	c.Changes()
	printed, err := c.Destroy()
	require.Error(t, err)
	require.Contains(t, printed, "this is still there: ingress argocd/argocd")
	require.Equal(t, []string{"Delete command:remote:Command sweep"}, c.Changes())
	finalizers(`{"metadata": {"finalizers": null}}`, "merge")
	const prometheus = "prometheuses.monitoring.coreos.com"
	require.Empty(t, get[object](c, prometheus, "--all-namespaces"), "the sweep deleted it; it belongs to a release, so no refresh notices")

	c.Must(c.Pulumi("refresh", "--yes", "--skip-preview"))
	c.Must(c.Up())
	c.rollback(t, "monitoring", "kube-prometheus-stack")
	c.kubectl("--namespace=argocd", "scale", "--replicas=1", "statefulset/argocd-application-controller", "deployment/argocd-applicationset-controller")
	c.kubectl("--namespace=argocd", "annotate", "applications", "--all", "argocd.argoproj.io/refresh=normal")

	c.awaitAnswers(t)
	ready := map[string]string{"monitoring": "prometheus-kube-prometheus-stack-prometheus", "postgres": "postgresql"}
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		for namespace, name := range ready {
			replicas, err := c.try("", "--namespace="+namespace, "get", "statefulset", name, "--output=jsonpath={.status.readyReplicas}")
			assert.NoError(t, err)
			assert.Equal(t, "1", replicas, name)
		}
		_, err := c.try("", "--namespace=auth", "get", "ingress", "api")
		assert.NoError(t, err)
		c.working(t, before) // on its own not sufficient: this may be Argo CD's status from before
	}, 5*time.Minute, 3*time.Second)
	assert.Len(t, get[object](c, prometheus, "--all-namespaces"), 1)
	assert.Empty(t, c.Steps())
	c.Changes()
}

// rollback rolls a release back to its latest revision, which creates its missing objects again.
func (c *cluster) rollback(t *testing.T, namespace, release string) {
	t.Helper()
	rollback := action.NewRollback(c.helm(namespace))
	rollback.Version = c.releases()[release].number
	require.NoError(t, rollback.Run(release))
}
