package machines

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/cli"

	"eco2/rehearsal/engine/stack"
)

// helm returns Helm's own client for a namespace; the empty one stands for all namespaces.
func (c *cluster) helm(namespace string) *action.Configuration {
	c.t.Helper()
	settings := cli.New()
	settings.KubeConfig = c.config
	settings.SetNamespace(namespace)
	var helm action.Configuration
	require.NoError(c.t, helm.Init(settings.RESTClientGetter(), namespace, "secret", c.t.Logf))
	return &helm
}

// revision is a release's latest revision.
type revision struct {
	number int
	status string
}

// releases returns what `helm list --all --all-namespaces` lists, by name.
func (c *cluster) releases() map[string]revision {
	c.t.Helper()
	list := action.NewList(c.helm(""))
	list.All, list.AllNamespaces = true, true
	list.SetStateMask()
	releases, err := list.Run()
	require.NoError(c.t, err)
	found := map[string]revision{}
	for _, release := range releases {
		found[release.Name] = revision{release.Version, release.Info.Status.String()}
	}
	return found
}

// upgrades changes one release's values, and then another's so that it never becomes ready. In the first of these updates
// Argo CD's script runs again, and must not restart anything.
func (c *cluster) upgrades(t *testing.T) {
	t.Helper()
	before, argoCD := c.releases(), c.argoCDPods()
	c.Tools.Program = c.ProgramWith("platform/externaldns.go", c.Replace(
		`resources("20m", "64Mi", "128Mi")`, `resources("20m", "64Mi", "160Mi")`))
	c.Must(c.Up())
	changes := c.Changes()
	assert.Contains(t, changes, "Update "+commandType+" argocd")
	assert.Equal(t, argoCD, c.argoCDPods(), "running the script again restarts nothing")
	changes = slices.DeleteFunc(changes, func(change string) bool { return strings.Contains(change, " "+commandType+" ") })
	assert.Equal(t, []string{"Update " + releaseType + " external-dns"}, changes)
	assert.Equal(t, "160Mi", c.kubectl("--namespace=platform-system", "get", "deployment", "external-dns",
		"--output=jsonpath={.spec.template.spec.containers[0].resources.limits.memory}"))
	after := c.releases()
	assert.Equal(t, revision{before["external-dns"].number + 1, "deployed"}, after["external-dns"])

	c.Tools.Program = c.ProgramWithPendingRedisOperator()
	operator := func() []object { return get[object](c, "pods", "--namespace=data-system") }
	pods := operator()
	printed, err := c.Up()
	require.Error(t, err)
	assert.Contains(t, printed, "redis-operator")
	assert.Contains(t, printed, "has been rolled back")
	assert.Contains(t, printed, "Helm last waited for this: Deployment is not ready: data-system/redis-operator")
	assert.Equal(t, "deployed", c.releases()["redis-operator"].status)
	assert.Contains(t, operator(), pods[0], "the previous pod keeps running")

	c.Tools.Program = tools.Program
	c.Must(c.Up())
	assert.Empty(t, c.Steps())
	for name, r := range c.releases() {
		assert.Equal(t, "deployed", r.status, name)
	}
	assert.Equal(t, "128Mi", c.kubectl("--namespace=platform-system", "get", "deployment", "external-dns",
		"--output=jsonpath={.spec.template.spec.containers[0].resources.limits.memory}"))
	c.Changes()
}

// newPassword changes Grafana's password, and checks that after the update a new pod runs with it.
func (c *cluster) newPassword(t *testing.T) {
	t.Helper()
	const password = "another password of Grafana's"
	pods := func() []object {
		return get[object](c, "pods", "--namespace=monitoring", "--selector=app.kubernetes.io/component=kube-prometheus-stack-grafana", "--field-selector=status.phase=Running")
	}
	before := pods()
	require.Len(t, before, 1)
	c.Options.Config["grafanaPassword"] = stack.Secret(password)
	c.Changes()
	c.Must(c.Up())
	c.InOrder(c.Changes(), "Update aws:ssm/parameter:Parameter platform-grafana-admin-password",
		"Update kubernetes:external-secrets.io/v1:ExternalSecret grafana-admin",
		"Update command:remote:Command grafana-admin-synced", "Update "+releaseType+" kube-prometheus-stack")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var running []object
		for _, pod := range pods() {
			if pod.Metadata.DeletionTimestamp == nil {
				running = append(running, pod)
			}
		}
		require.Len(t, running, 1)
		assert.NotEqual(t, before[0].Metadata.UID, running[0].Metadata.UID)
		assert.Equal(t, "2", running[0].Metadata.Annotations["eco2.io/parameter-version"])
	}, time.Minute, time.Second)
	encoded := c.kubectl("--namespace=monitoring", "get", "secret", "grafana-admin", "--output=jsonpath={.data.admin-password}")
	value, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	assert.Equal(t, password, string(value))
}
