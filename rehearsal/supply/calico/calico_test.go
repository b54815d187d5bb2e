package calico

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/supply/mirror"
)

// source returns the directory of Calico's module.
func source(t *testing.T) string {
	t.Helper()
	dir, err := mirror.Source(t.Context(), "../../..", "calico")
	require.NoError(t, err)
	return dir
}

func manifest(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source(t), manifestFile))
	require.NoError(t, err)
	return text
}

// The module's manifest has the checksum that the program pins, so the rehearsal need not configure another.
func TestManifestHasThePinnedChecksum(t *testing.T) {
	versions, err := os.ReadFile("../../../config/versions.go")
	require.NoError(t, err)
	sum := sha256.Sum256(manifest(t))
	_, release, found := strings.Cut(string(versions), URL)
	require.True(t, found, "config/versions.go does not contain %s", URL)
	pinned, _, _ := strings.Cut(release, "Kubernetes:")
	assert.Contains(t, pinned, hex.EncodeToString(sum[:]))
}

func TestImagesAreThoseOfTheManifest(t *testing.T) {
	var required []string
	for line := range strings.Lines(string(manifest(t))) {
		if name, isImage := strings.CutPrefix(strings.TrimSpace(line), "image: "); isImage && !slices.Contains(required, name) {
			required = append(required, name)
		}
	}
	assert.ElementsMatch(t, required, Images())
}

// object decodes the object of a kind and name in a manifest.
func object[T any](t *testing.T, manifest []byte, kind, name string) T {
	t.Helper()
	var found T
	for text := range strings.SplitSeq(string(manifest), "\n---\n") {
		var meta metav1.PartialObjectMetadata
		require.NoError(t, yaml.Unmarshal([]byte(text), &meta))
		if meta.Kind == kind && meta.Name == name {
			require.NoError(t, yaml.UnmarshalStrict([]byte(text), &found))
			return found
		}
	}
	require.FailNow(t, "not in the manifest", "%s %s", kind, name)
	return found
}

// The patches of the program's kustomization fit upstream's manifest, and replace environment variables instead of
// adding duplicates.
func TestTheProgramsKustomizationApplies(t *testing.T) {
	kustomization, err := os.ReadFile("../../../cluster/manifests/calico/kustomization.yaml")
	require.NoError(t, err)
	files := filesys.MakeFsInMemory()
	require.NoError(t, files.WriteFile("kustomization.yaml", []byte(strings.ReplaceAll(string(kustomization), "${POD_CIDR}", "192.168.0.0/16"))))
	require.NoError(t, files.WriteFile("calico.yaml", manifest(t)))
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, ".")
	require.NoError(t, err)
	patched, err := result.AsYaml()
	require.NoError(t, err)

	config := object[corev1.ConfigMap](t, patched, "ConfigMap", "calico-config")
	assert.Equal(t, "vxlan", config.Data["calico_backend"])
	assert.Equal(t, "none", config.Data["typha_service_name"])

	node := object[appsv1.DaemonSet](t, patched, "DaemonSet", "calico-node").Spec.Template.Spec
	require.Len(t, node.Containers, 1)
	env := map[string]string{}
	for _, v := range node.Containers[0].Env {
		assert.NotContains(t, env, v.Name, "the variable is duplicated")
		env[v.Name] = v.Value
	}
	for name, value := range map[string]string{
		"CALICO_IPV4POOL_VXLAN": "Always", "CALICO_IPV4POOL_IPIP": "Never", "CALICO_IPV4POOL_CIDR": "192.168.0.0/16",
		"IP_AUTODETECTION_METHOD": "kubernetes-internal-ip", "CLUSTER_TYPE": "k8s",
		"DATASTORE_TYPE": "kubernetes", // not patched
	} {
		assert.Equal(t, value, env[name], name)
	}

	// The address on which Felix listens by default, as its source says.
	for path, probe := range map[string]*corev1.Probe{"/liveness": node.Containers[0].LivenessProbe, "/readiness": node.Containers[0].ReadinessProbe} {
		assert.Equal(t, corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: "127.0.0.1", Port: intstr.FromInt32(9099), Path: path}}, probe.ProbeHandler)
		assert.EqualValues(t, 10, probe.TimeoutSeconds, "upstream's value, which is not patched")
	}

	controllers := object[appsv1.Deployment](t, patched, "Deployment", "calico-kube-controllers").Spec.Template.Spec
	assert.ElementsMatch(t, []corev1.Toleration{
		{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists},
		{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
		{Key: "role", Value: "control-plane", Effect: corev1.TaintEffectNoSchedule},
	}, controllers.Tolerations)
}

// calico-node's supervisor starts the services that upstream's scripts enable, so the image needs these scripts.
func TestNodeImageHasUpstreamsScripts(t *testing.T) {
	image, err := nodeImage("calico-node", filepath.Join(source(t), "node", "filesystem"))
	require.NoError(t, err)
	for _, name := range []string{"/usr/sbin/start_runit", "/etc/rc.local", "/etc/service/available/felix/run", "/etc/calico/felix.cfg"} {
		assert.Contains(t, image.Files, name)
	}
	assert.Equal(t, "iptables-legacy-restore", image.Links["/usr/sbin/iptables-restore"])
	assert.Contains(t, image.Debian, "netbase", "ipset reads its /etc/protocols")
}
