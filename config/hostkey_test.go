package config

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostKey returns the host key of a node, and its private half in plain text.
func hostKey(t *testing.T, s SSH, cluster, node string) (key HostKey, private string) {
	t.Helper()
	key, err := s.HostKey(cluster, node)
	require.NoError(t, err)
	result, err := internals.UnsafeAwaitOutput(t.Context(), key.Private)
	require.NoError(t, err)
	assert.True(t, result.Secret)
	return key, result.Value.(string)
}

// A host key must stay the same as long as the SSH key does, whatever its format, or a living machine could not be
// recognised. This is its value for a fixed key.
func TestHostKeyIsTheSameInEveryRun(t *testing.T) {
	const want = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJFWYxcXlni9yT5LpwbE0Y095zmVrBQgd0f5XakHNtpM"
	for name, text := range keys(t) {
		if !strings.HasPrefix(name, "ed25519") {
			continue
		}
		private, _, problem := parseKey(text)
		require.Empty(t, problem)
		key, _ := hostKey(t, SSH{text: private}, "eco2-dev", "k8s-redis")
		assert.Equal(t, want, key.Public, name)
	}
}

func TestEveryMachineHasAnotherHostKey(t *testing.T) {
	other := ed25519.NewKeyFromSeed([]byte("thirty-two bytes of another test"))
	seen := map[string]bool{}
	for _, login := range []ed25519.PrivateKey{edKey, other} {
		text, err := opensshEd25519(login)
		require.NoError(t, err)
		for _, cluster := range []string{"eco2-dev", "eco2-prod"} {
			for _, node := range []string{"k8s-master", "k8s-redis"} {
				key, _ := hostKey(t, SSH{text: text}, cluster, node)
				seen[key.Public] = true
			}
		}
	}
	assert.Len(t, seen, 8)
}

// The machine's sshd must read the private half, and its public half must be the one that clients require.
func TestHostKeyIsReadByOpenSSH(t *testing.T) {
	for name, text := range keys(t) {
		t.Run(name, func(t *testing.T) {
			text, _, problem := parseKey(text)
			require.Empty(t, problem)
			key, private := hostKey(t, SSH{text: text}, "eco2-dev", "k8s-redis")
			file := filepath.Join(t.TempDir(), "key")
			require.NoError(t, os.WriteFile(file, []byte(private), 0o600))
			output, err := exec.CommandContext(t.Context(), "ssh-keygen", "-y", "-P", "", "-f", file).CombinedOutput()
			require.NoError(t, err, "%s", output)
			assert.Equal(t, key.Public, strings.TrimSpace(string(output)))
		})
	}
}
