// Package hardening tests the files with which the program restricts the API server, with a real API server.
package hardening

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"eco2/rehearsal/cluster/apitest"
)

const files = "../../../cluster/manifests/control-plane/"

var server *apitest.Server

// TestMain starts the server with the arguments of cluster/kubeadm.go that name the files.
func TestMain(m *testing.M) {
	apitest.Main(m, "../../..", &server, "--allow-privileged=true",
		"--admission-control-config-file="+files+"admission.yaml", "--authentication-config="+files+"authentication.yaml",
		"--audit-policy-file="+files+"audit.yaml", "--audit-log-path=DIR/audit.log",
		"--enable-admission-plugins=NodeRestriction,DenyServiceExternalIPs")
}

// admin returns a client with all permissions and its configuration.
func admin(t *testing.T) (*kubernetes.Clientset, *rest.Config) {
	t.Helper()
	server.Need(t)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client, config
}

func namespace(t *testing.T, client *kubernetes.Clientset, name string, labels map[string]string) {
	t.Helper()
	_, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// pod returns a pod with an image of nobody.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.example/main:1"}}},
	}
}

// takeover returns a pod that becomes root of the control plane.
func takeover() *corev1.Pod {
	p, yes := pod("takeover"), true
	p.Spec.HostNetwork, p.Spec.HostPID = true, true
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	p.Spec.Volumes = []corev1.Volume{{Name: "keys", VolumeSource: corev1.VolumeSource{
		HostPath: &corev1.HostPathVolumeSource{Path: "/etc/kubernetes"},
	}}}
	p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	p.Spec.NodeSelector = map[string]string{"node-role.kubernetes.io/control-plane": ""}
	return p
}

// Whoever may create pods in a namespace must not become root of a node by that, whether or not somebody has declared
// the namespace.
func TestPodsDoNotTakeOverTheirNodes(t *testing.T) {
	client, _ := admin(t)
	namespace(t, client, "undeclared", nil)
	namespace(t, client, "declared", map[string]string{"pod-security.kubernetes.io/enforce": "baseline"})
	for _, name := range []string{"undeclared", "declared", "default"} {
		_, err := client.CoreV1().Pods(name).Create(t.Context(), takeover(), metav1.CreateOptions{})
		assert.ErrorContains(t, err, `violates PodSecurity "baseline:latest": host namespaces`, name)
		assert.ErrorContains(t, err, "privileged", name)
		_, err = client.CoreV1().Pods(name).Create(t.Context(), pod("ordinary"), metav1.CreateOptions{})
		assert.NoError(t, err, name)
	}
	_, err := client.CoreV1().Pods("kube-system").Create(t.Context(), takeover(), metav1.CreateOptions{})
	assert.NoError(t, err, "what is part of the nodes runs there")
}

func TestServicesDoNotTakeAddressesOver(t *testing.T) {
	client, _ := admin(t)
	_, err := client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "takeover"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}, ExternalIPs: []string{"192.0.2.1"}},
	}, metav1.CreateOptions{})
	assert.ErrorContains(t, err, "Use of external IPs is denied by admission control")
}

// applyNodePolicy creates the policy of nodes.yaml.
func applyNodePolicy(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	text, err := os.ReadFile(files + "nodes.yaml")
	require.NoError(t, err)
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	require.NoError(t, decoder.Decode(&policy))
	require.NoError(t, decoder.Decode(&binding))
	_, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), &policy, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), &binding, metav1.CreateOptions{})
	require.NoError(t, err)
}

// Whoever controls a node must not be able to draw the pods of another purpose there.
func TestKubeletsDoNotPlacePods(t *testing.T) {
	client, config := admin(t)
	const name = "k8s-worker-ai"
	_, err := client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "kubelets"},
		Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:nodes"}},
		RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", APIGroup: rbacv1.GroupName, Name: "system:node"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	impersonating := rest.CopyConfig(config)
	impersonating.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + name, Groups: []string{"system:nodes", "system:authenticated"}}
	kubelet, err := kubernetes.NewForConfig(impersonating)
	require.NoError(t, err)
	_, err = client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"domain": "worker-ai", "kubernetes.io/hostname": name,
	}}}, metav1.CreateOptions{})
	require.NoError(t, err)

	patch := func(client *kubernetes.Clientset, labels string, subresource ...string) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"metadata": {"labels": `+labels+`}}`), metav1.PatchOptions{}, subresource...)
		return err
	}
	const refused = "a node does not change the labels by which pods are placed on it"
	require.NoError(t, patch(kubelet, `{"infra-type": "monitoring"}`), "Kubernetes itself allows it")
	applyNodePolicy(t, client)
	attempt := 0
	require.EventuallyWithT(t, func(t *assert.CollectT) { // a policy is in force some time after it was created
		attempt++
		assert.ErrorContains(t, patch(kubelet, fmt.Sprintf(`{"infra-type": "attempt-%d"}`, attempt)), refused)
	}, 30*time.Second, 100*time.Millisecond)
	for title, labels := range map[string]string{
		"a new label": `{"role": "infrastructure"}`, "another value": `{"domain": "data"}`, "no label": `{"domain": null}`,
		"another one in its place": `{"domain": null, "role": "infrastructure"}`, "a foreign domain": `{"example.com/role": "x"}`,
		"a domain that only ends alike": `{"notkubernetes.io/role": "x"}`,
	} {
		assert.ErrorContains(t, patch(kubelet, labels), refused, title)
		assert.ErrorContains(t, patch(kubelet, labels, "status"), refused, "with its status: "+title)
	}
	assert.ErrorContains(t, kubelet.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}),
		"cannot delete", "it could create itself with other labels")

	assert.NoError(t, patch(kubelet, `{"node.kubernetes.io/instance-type": "t3.large", "topology.kubernetes.io/zone": "a"}`), "what a kubelet maintains")
	_, err = kubelet.CoreV1().Nodes().Patch(t.Context(), name, types.StrategicMergePatchType,
		[]byte(`{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}`), metav1.PatchOptions{}, "status")
	assert.NoError(t, err, "a heartbeat")
	assert.NoError(t, patch(client, `{"domain": "data"}`), "an administrator")
}

// Without credentials one must learn only what probes and joining nodes need.
func TestAnonymousRequests(t *testing.T) {
	client, config := admin(t)
	anonymous, err := rest.HTTPClientFor(rest.AnonymousClientConfig(config))
	require.NoError(t, err)
	// As kubeadm does.
	_, err = client.CoreV1().ConfigMaps("kube-public").Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.RbacV1().Roles("kube-public").Create(t.Context(), &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"cluster-info"}}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.RbacV1().RoleBindings("kube-public").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "system:anonymous"}},
		RoleRef:    rbacv1.RoleRef{Kind: "Role", APIGroup: rbacv1.GroupName, Name: "cluster-info"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusOK, "/healthz": http.StatusOK,
		"/api/v1/namespaces/kube-public/configmaps/cluster-info": http.StatusOK,
		"/version": http.StatusUnauthorized, "/": http.StatusUnauthorized, "/api": http.StatusUnauthorized,
		"/metrics": http.StatusUnauthorized, "/api/v1/namespaces/kube-public/configmaps": http.StatusUnauthorized,
	} {
		response, err := anonymous.Get(config.Host + path)
		require.NoError(t, err)
		assert.Equal(t, want, response.StatusCode, path)
		assert.NoError(t, response.Body.Close())
	}
}

// The log must say who read a secret, and never what is in it.
func TestAuditLog(t *testing.T) {
	client, _ := admin(t)
	_, err := client.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "audited"}, StringData: map[string]string{"password": "never-in-a-log"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.CoreV1().Secrets("default").Get(t.Context(), "audited", metav1.GetOptions{})
	require.NoError(t, err)
	_, err = client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	log, err := os.ReadFile(filepath.Join(server.Dir, "audit.log"))
	require.NoError(t, err)
	var reads int
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `"resource":"secrets","namespace":"default","name":"audited"`) && strings.Contains(line, `"verb":"get"`) {
			reads++
			assert.Contains(t, line, `"username":"admin"`)
			assert.Contains(t, line, `"level":"Metadata"`)
		}
	}
	assert.Equal(t, 1, reads)
	assert.NotContains(t, string(log), "never-in-a-log")
	assert.NotContains(t, string(log), "bmV2ZXItaW4tYS1sb2c", "in base64")
	assert.NotContains(t, string(log), `"resource":"events"`)
	assert.NotContains(t, string(log), `"requestURI":"/readyz"`)
}
