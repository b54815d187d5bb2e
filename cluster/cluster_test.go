package cluster

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/infra"
)

// A shell must read each quoted value back unchanged.
func TestQuote(t *testing.T) {
	for _, value := range []string{
		"", "plain", "a=b,c=d:NoSchedule", "two words", "it's", `"$HOME"`, "`id`", "a;b|c&d", "new\nline", "*", "~", "#", "--flag", `back\slash`,
	} {
		output, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(value)).Output()
		require.NoError(t, err, value)
		assert.Equal(t, value, string(output))
	}
}

// The output of kubeconfig.sh does not contain the kubeconfig in plain text, and only its key decrypts it.
func TestDecrypt(t *testing.T) {
	const key, text = "a key", "apiVersion: v1\nkind: Config\n"
	script, err := scriptText("kubeconfig")
	require.NoError(t, err)
	openssl := regexp.MustCompile(`openssl enc .* -A`).FindString(script)
	require.NotEmpty(t, openssl)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte(text), 0o600))
	command := exec.CommandContext(t.Context(), "sh", "-c", openssl+" -in text -pass stdin")
	command.Dir, command.Stdin = dir, strings.NewReader(key)
	encrypted, err := command.Output()
	require.NoError(t, err)
	assert.NotContains(t, string(encrypted), base64.StdEncoding.EncodeToString([]byte("apiVersion")))

	decrypted, err := decrypt(string(encrypted), key)
	require.NoError(t, err)
	assert.Equal(t, text, decrypted)
	decrypted, err = decrypt(string(encrypted), "another key")
	require.NoError(t, err)
	assert.NotContains(t, decrypted, "Config")
	for _, other := range []string{"", text, "c2hvcnQ="} {
		_, err := decrypt(other, key)
		assert.EqualError(t, err, "it is not in the format of `openssl enc`")
	}
}

func TestManifest(t *testing.T) {
	text, err := manifest("calico/kustomization.yaml", map[string]string{"POD_CIDR": "10.244.0.0/16"})
	require.NoError(t, err)
	assert.Contains(t, text, `value: "10.244.0.0/16"`)
	_, err = manifest("calico/kustomization.yaml", nil)
	assert.ErrorContains(t, err, "rendering manifest calico/kustomization.yaml: there is no value for ${POD_CIDR}")
	_, err = manifest("calico/kustomization.yaml", map[string]string{"POD_CIDR": "x", "MTU": "1"})
	assert.EqualError(t, err, "rendering manifest calico/kustomization.yaml: it has no placeholder ${MTU}")
	_, err = manifest("none.yaml", nil)
	assert.ErrorContains(t, err, "reading manifest none.yaml")
}

func TestInitConfiguration(t *testing.T) {
	c := config.Config{
		Name: "eco2-test", PodCidr: netip.MustParsePrefix("192.168.0.0/16"), ServiceCidr: netip.MustParsePrefix("10.96.0.0/12"),
		Versions: config.DefaultVersions,
	}
	node := &infra.Node{NodeSpec: infra.NodeSpec{
		Name: "k8s-master", Labels: map[string]string{"tier": "platform", "role": "control-plane"},
		Taints: []infra.Taint{{Key: "role", Value: "control-plane", Effect: "NoSchedule"}},
	}}
	text, err := initConfiguration(c, node, "10.0.0.4", "203.0.113.1", "aws:///ap-northeast-2a/i-0")
	require.NoError(t, err)
	again, err := initConfiguration(c, node, "10.0.0.4", "203.0.113.1", "aws:///ap-northeast-2a/i-0")
	require.NoError(t, err)
	assert.Equal(t, text, again)

	documents := map[string]map[string]any{}
	for _, document := range strings.Split(text, "---\n") {
		var d map[string]any
		require.NoError(t, json.Unmarshal([]byte(document), &d))
		documents[d["kind"].(string)] = d
	}
	require.Len(t, documents, 3)
	for _, kind := range []string{"InitConfiguration", "ClusterConfiguration"} {
		assert.Equal(t, "kubeadm.k8s.io/v1beta4", documents[kind]["apiVersion"])
	}
	assert.Equal(t, "kubelet.config.k8s.io/v1beta1", documents["KubeletConfiguration"]["apiVersion"])
	assert.Equal(t, true, documents["KubeletConfiguration"]["serverTLSBootstrap"])

	registration := documents["InitConfiguration"]["nodeRegistration"].(map[string]any)
	assert.Equal(t, []any{
		map[string]any{"name": "node-labels", "value": "role=control-plane,tier=platform"},
		map[string]any{"name": "provider-id", "value": "aws:///ap-northeast-2a/i-0"},
	}, registration["kubeletExtraArgs"])
	assert.Len(t, registration["taints"], 2, "kubeadm's own, and that of the node table")

	cluster := documents["ClusterConfiguration"]
	assert.Equal(t, "v1.36.5", cluster["kubernetesVersion"])
	assert.Equal(t, "10.0.0.4:6443", cluster["controlPlaneEndpoint"])
	server := cluster["apiServer"].(map[string]any)
	assert.Contains(t, server["certSANs"], "203.0.113.1", "clients outside the VPC reach the API at this address")
	assert.Contains(t, server["extraArgs"], map[string]any{"name": "encryption-provider-config", "value": "/etc/kubernetes/encryption.yaml"})
	assert.Contains(t, server["extraArgs"], map[string]any{"name": "service-account-extend-token-expiration", "value": "false"},
		"check 1.2.30 of the CIS benchmark, which kube-bench's edition does not have")
}
