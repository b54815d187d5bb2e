package releases

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/supply/charts/chartstest"
)

// renderedDNS renders the chart with a stack's values, and returns the manifests and the Deployment in them.
func renderedDNS(t *testing.T, stack string) (manifest string, deployment appsv1.Deployment) {
	t.Helper()
	c, release := upstream(t, externalDNS, stack)
	manifest, err := chartstest.Render(c, release)
	require.NoError(t, err)
	for _, text := range strings.Split(manifest, "\n---\n") {
		if strings.Contains(text, "\nkind: Deployment\n") {
			require.NoError(t, yaml.Unmarshal([]byte(text), &deployment))
		}
	}
	require.Len(t, deployment.Spec.Template.Spec.Containers, 1)
	return manifest, deployment
}

// The chart passes the program's values on to the binary and the pod.
func TestChartUsesTheValues(t *testing.T) {
	for _, stack := range []string{"dev", "prod"} {
		manifest, deployment := renderedDNS(t, stack)
		container := deployment.Spec.Template.Spec.Containers[0]
		assert.Equal(t, externalDNS.image, container.Image)
		assert.Subset(t, container.Args, []string{
			"--policy=sync", "--events", "--registry=txt", "--txt-owner-id=eco2-" + stack, "--txt-prefix=edns-%{record_type}.",
			"--provider=aws", "--source=ingress", "--aws-zone-type=public", "--zone-id-filter=Z0123456789ABCDEFGHIJ",
		})
		assert.Equal(t, map[string]string{"node-role.kubernetes.io/control-plane": ""}, deployment.Spec.Template.Spec.NodeSelector)
		assert.Len(t, deployment.Spec.Template.Spec.Tolerations, 2)
		assert.Equal(t, "128Mi", container.Resources.Limits.Memory().String())
		assert.Equal(t, "AWS_DEFAULT_REGION", container.Env[0].Name)
		assert.Contains(t, manifest, "port: 7979") // the sweep connects to it
	}
}
