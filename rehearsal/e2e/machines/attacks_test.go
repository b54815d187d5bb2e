package machines

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// takeover is a pod that becomes root of the control plane, where the keys of the cluster are.
const takeover = `
apiVersion: v1
kind: Pod
metadata: {name: takeover, namespace: %s}
spec:
  nodeSelector: {node-role.kubernetes.io/control-plane: ""}
  tolerations: [{operator: Exists}]
  volumes: [{name: keys, hostPath: {path: /etc/kubernetes}}]
  containers:
  - {name: takeover, image: eco2.example/probe:1, volumeMounts: [{name: keys, mountPath: /keys}]}
`

// resistsTakeovers checks that neither a pod nor a worker's machine becomes more than it is. Attacks on the metadata
// service are in deniesMetadata, those of Applications in refuses, those on parameters in foreignParameter.
func (c *cluster) resistsTakeovers(t *testing.T) {
	const undeclared = "undeclared"
	c.kubectl("create", "namespace", undeclared)
	t.Cleanup(func() { c.kubectl("delete", "namespace", undeclared, "--wait=false") })
	for _, namespace := range []string{undeclared, "default", workloadNamespace, databaseNamespace, "argocd", "platform-system"} {
		_, err := c.try(fmt.Sprintf(takeover, namespace), "create", "--filename=-")
		require.Error(t, err, namespace)
		assert.Regexp(t, `violates PodSecurity "(baseline|restricted):latest": .*volume "keys"`, err.Error(), namespace)
	}

	const kubelet = "kubectl --kubeconfig /etc/kubernetes/kubelet.conf "
	attempt := func(command string) string {
		return string(c.on("k8s-redis", command+" 2>&1 && echo succeeded || true"))
	}
	assert.Contains(t, attempt(kubelet+"label node k8s-redis --overwrite domain=auth"), "a node does not change the labels by which pods are placed on it")
	assert.Contains(t, attempt(kubelet+"taint node k8s-redis --overwrite domain=auth:NoSchedule"), "forbidden")
	assert.Contains(t, attempt(kubelet+"label node k8s-postgresql example.com/mine=1"), "forbidden")
	assert.Contains(t, attempt(kubelet+"delete node k8s-redis"), "forbidden")
	assert.Contains(t, attempt(kubelet+"get secrets --namespace kube-system"), "forbidden")

	api := "https://" + c.machines()["k8s-master"].PrivateIP + ":6443"
	ask := func(path string) string {
		return strings.TrimSpace(string(c.on("k8s-redis", "curl --silent --insecure --output /dev/null --write-out '%{http_code}' "+api+path)))
	}
	assert.Equal(t, "401", ask("/version"), "without credentials")
	assert.Equal(t, "200", ask("/readyz"), "what probes ask")

	// The control plane's credentials stay with the control plane, and those of a worker permit nothing that matters.
	role := func(node string) string {
		return strings.TrimSpace(string(c.on(node, `
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
curl -sf -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/iam/security-credentials/`)))
	}
	assert.Regexp(t, `-worker$`, role("k8s-redis"))
	assert.Regexp(t, `-node$`, role("k8s-master"))
}
