package conformance

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/supply/mirror"
)

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, "../../..", &server) }

func administrator(t *testing.T) cluster {
	t.Helper()
	server.Need(t)
	kubernetes, err := mirror.Find("../../..", "kubernetes")
	require.NoError(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(server.Kubeconfig), 0o600))
	return cluster{kubectlPath: kubernetes.Binary("kubectl"), kubeconfig: kubeconfig}
}

// The taints of workers are the same after a run as before, also where the run was killed, and a node that has left in
// between is no failure.
func TestTaintsAreLiftedAndComeBack(t *testing.T) {
	c := administrator(t)
	client, err := server.Client()
	require.NoError(t, err)
	domain := corev1.Taint{Key: "domain", Value: "data", Effect: corev1.TaintEffectNoSchedule}
	for name, taints := range map[string][]corev1.Taint{
		"master": {{Key: controlPlane, Effect: corev1.TaintEffectNoSchedule}, domain}, "redis": {domain}, "chat": {domain}, "ai": nil,
	} {
		_, err := client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	// The API server says of each new node that it is not ready.
	for _, name := range []string{"master", "redis", "chat", "ai"} {
		_, err := c.kubectl(t.Context(), "taint", "nodes", name, "node.kubernetes.io/not-ready:NoSchedule-")
		require.NoError(t, err)
	}

	workers, err := c.workers(t.Context())
	require.NoError(t, err)
	before := map[string][]taint{"redis": {{"domain", "data", "NoSchedule"}}, "chat": {{"domain", "data", "NoSchedule"}}}
	assert.Len(t, workers, 3)
	assert.Equal(t, before, tainted(workers))

	file := filepath.Join(t.TempDir(), "state", "taints.json")
	require.NoError(t, c.liftTaints(t.Context(), before, file))
	lifted, err := c.workers(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tainted(lifted))
	master, err := client.CoreV1().Nodes().Get(t.Context(), "master", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Len(t, master.Spec.Taints, 2)

	require.NoError(t, client.CoreV1().Nodes().Delete(t.Context(), "chat", metav1.DeleteOptions{}))
	require.NoError(t, c.restoreTaints(t.Context(), file))
	delete(before, "chat")
	restored, err := c.workers(t.Context())
	require.NoError(t, err)
	assert.Equal(t, before, tainted(restored))
	assert.NoFileExists(t, file)
	assert.NoError(t, c.restoreTaints(t.Context(), file), "nothing is noted")
}

func TestNamespacesOfTestsGo(t *testing.T) {
	c := administrator(t)
	client, err := server.Client()
	require.NoError(t, err)
	for name, labels := range map[string]map[string]string{"dns-1234": {"e2e-framework": "dns"}, "mine": nil} {
		_, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, c.removeNamespaces(t.Context()))
	_, err = client.CoreV1().Namespaces().Get(t.Context(), "dns-1234", metav1.GetOptions{})
	assert.Error(t, err)
	_, err = client.CoreV1().Namespaces().Get(t.Context(), "mine", metav1.GetOptions{})
	assert.NoError(t, err)
}
