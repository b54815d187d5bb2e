package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The wrapper of kubeadm in the machines' image.
func TestKubeadmLeavesTheHostsConnectionTrackingAlone(t *testing.T) {
	dir := t.TempDir()
	script, err := recipe.ReadFile("image/kubeadm")
	require.NoError(t, err)
	text := strings.NewReplacer("/usr/bin/kubeadm", dir+"/package", "/run/", dir+"/", "/sys/fs/cgroup/", dir+"/cgroup/").Replace(string(script))
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755)) //nolint:gosec // some of them are run
	}
	write("kubeadm", text)
	write("package", "#!/bin/bash\necho \"$*\"\n")
	write("config.yaml", "kind: ClusterConfiguration\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cgroup"), 0o755))
	kubeadm := func(line string) string {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "kubeadm"), strings.Fields(line)...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("kind: FromStandardInput\n")
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, string(output))
		return strings.TrimSpace(string(output))
	}
	const added = "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {maxPerCore: 0}\n"
	complete := filepath.Join(dir, "kubeadm-init.yaml")
	for line, config := range map[string]string{
		"init --config config.yaml --skip-token-print": "kind: ClusterConfiguration\n",
		"init --config=config.yaml --skip-token-print": "kind: ClusterConfiguration\n",
		"init --config /dev/stdin --skip-token-print":  "kind: FromStandardInput\n",
	} {
		assert.Equal(t, "init --skip-token-print --ignore-preflight-errors=SystemVerification --config "+complete, kubeadm(line))
		data, err := os.ReadFile(complete)
		require.NoError(t, err)
		assert.Equal(t, config+added, string(data), line)
	}
	for _, line := range []string{"join --config join.yaml", "upgrade apply --yes v1.36.5", "upgrade node"} {
		assert.Equal(t, line+" --ignore-preflight-errors=SystemVerification", kubeadm(line))
	}
	write("cgroup/cgroup.controllers", "")
	for _, line := range []string{
		"init --skip-token-print", "init phase addon all --config config.yaml", "join 10.0.0.4:6443 --config join.yaml",
		"config validate --config config.yaml", "version",
	} {
		assert.Equal(t, line, kubeadm(line))
	}
}
