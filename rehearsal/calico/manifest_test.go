package calico_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/calico"
)

// kustomization is the product's own, which must apply here as it does to upstream's manifest.
const kustomization = "../../cluster/manifests/calico/kustomization.yaml"

func manifest(t *testing.T) []byte {
	t.Helper()
	text, err := calico.Manifest(calico.ImagesOf("v3.32.1"))
	require.NoError(t, err)
	return text
}

// objects are a manifest's, as text by kind/name.
func objects(t *testing.T, manifest []byte) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifest)))
	for {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		var object metav1.PartialObjectMetadata
		require.NoError(t, yaml.Unmarshal(text, &object))
		if object.Kind == "" {
			continue // nothing but comments
		}
		name := object.Kind + "/" + object.Name
		require.NotContains(t, found, name)
		found[name] = text
	}
}

// read decodes an object as its type, and refuses fields that the type does not have.
func read[T any](t *testing.T, objects map[string][]byte, name string) T {
	t.Helper()
	var object T
	require.Contains(t, objects, name)
	require.NoError(t, yaml.UnmarshalStrict(objects[name], &object), name)
	return object
}

// patched is the manifest as the product applies it.
func patched(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(kustomization)
	require.NoError(t, err)
	files := filesys.MakeFsInMemory()
	require.NoError(t, files.WriteFile("kustomization.yaml",
		[]byte(strings.ReplaceAll(string(text), "${POD_CIDR}", "192.168.0.0/16"))))
	require.NoError(t, files.WriteFile("calico.yaml", manifest(t)))
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, ".")
	require.NoError(t, err)
	out, err := result.AsYaml()
	require.NoError(t, err)
	return objects(t, out)
}

func TestTheProductsKustomizationApplies(t *testing.T) {
	result := patched(t)
	assert.Len(t, result, len(objects(t, manifest(t))), "patches add no object")

	config := read[corev1.ConfigMap](t, result, "ConfigMap/calico-config")
	assert.Equal(t, "vxlan", config.Data["calico_backend"])

	node := read[appsv1.DaemonSet](t, result, "DaemonSet/calico-node").Spec.Template.Spec
	require.Len(t, node.Containers, 1)
	env := map[string]string{}
	for _, v := range node.Containers[0].Env {
		assert.NotContains(t, env, v.Name, "merged, not added beside")
		env[v.Name] = v.Value
	}
	assert.Equal(t, "Always", env["CALICO_IPV4POOL_VXLAN"])
	assert.Equal(t, "Never", env["CALICO_IPV4POOL_IPIP"])
	assert.Equal(t, "192.168.0.0/16", env["CALICO_IPV4POOL_CIDR"])
	assert.Equal(t, "kubernetes-internal-ip", env["IP_AUTODETECTION_METHOD"])
	assert.Equal(t, "k8s", env["CLUSTER_TYPE"])
	assert.Equal(t, "kubernetes", env["DATASTORE_TYPE"], "what no patch names stays")
	assert.Equal(t, "quay.io/calico/node:v3.32.1", node.Containers[0].Image)

	controllers := read[appsv1.Deployment](t, result, "Deployment/calico-kube-controllers").Spec.Template.Spec
	assert.ElementsMatch(t, []corev1.Toleration{
		{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists},
		{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
		{Key: "role", Value: "control-plane", Effect: corev1.TaintEffectNoSchedule},
	}, controllers.Tolerations)
}

// What the product's scripts wait for and select by.
func TestNamesAreUpstreams(t *testing.T) {
	all := objects(t, manifest(t))
	read[corev1.ServiceAccount](t, all, "ServiceAccount/calico-cni-plugin")
	for _, name := range []string{"calico-node", "calico-kube-controllers"} {
		read[corev1.ServiceAccount](t, all, "ServiceAccount/"+name)
		read[rbacv1.ClusterRole](t, all, "ClusterRole/"+name)
		binding := read[rbacv1.ClusterRoleBinding](t, all, "ClusterRoleBinding/"+name)
		assert.Equal(t, name, binding.RoleRef.Name)
		assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "kube-system"}}, binding.Subjects)
	}
	read[policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget/calico-kube-controllers")

	node := read[appsv1.DaemonSet](t, all, "DaemonSet/calico-node")
	assert.Equal(t, "kube-system", node.Namespace)
	assert.Equal(t, map[string]string{"k8s-app": "calico-node"}, node.Spec.Template.Labels)
	assert.Equal(t, "calico-node", node.Spec.Template.Spec.ServiceAccountName)
	read[appsv1.Deployment](t, all, "Deployment/calico-kube-controllers")

	definitions := 0
	for name := range all {
		if strings.HasPrefix(name, "CustomResourceDefinition/") {
			definitions++
			assert.True(t, strings.HasSuffix(name, ".crd.projectcalico.org"), name)
		}
	}
	assert.Equal(t, 22, definitions)
}

// What a node gets is a CNI configuration once install-cni has put in what it knows.
func TestTheCNIConfigurationIsOne(t *testing.T) {
	config := read[corev1.ConfigMap](t, objects(t, manifest(t)), "ConfigMap/calico-config")
	assert.Subset(t, config.Data, map[string]string{"typha_service_name": "none", "veth_mtu": "0"})
	filled := strings.NewReplacer("__CNI_MTU__", "1450", "__POD_CIDR__", "192.168.3.0/24").Replace(config.Data["cni_network_config"])
	var list struct {
		Plugins []struct {
			Type string
			MTU  int
			IPAM struct {
				Ranges [][]struct{ Subnet string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(filled), &list))
	require.Len(t, list.Plugins, 3)
	assert.Equal(t, "bridge", list.Plugins[0].Type)
	assert.Equal(t, 1450, list.Plugins[0].MTU)
	assert.Equal(t, "192.168.3.0/24", list.Plugins[0].IPAM.Ranges[0][0].Subnet)
	assert.Equal(t, "portmap", list.Plugins[1].Type)
	assert.Equal(t, "calico", list.Plugins[2].Type)
}

// The product pins the manifest's checksum.
func TestTheManifestIsTheSameEveryTime(t *testing.T) {
	assert.Equal(t, manifest(t), manifest(t))
}
