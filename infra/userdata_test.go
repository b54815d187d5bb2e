package infra

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"eco2/config"
)

func TestUserData(t *testing.T) {
	private := pulumi.ToSecret(pulumi.String("-----BEGIN KEY-----\nline 1\nline 2\n-----END KEY-----\n")).(pulumi.StringOutput)
	result, err := internals.UnsafeAwaitOutput(t.Context(), userData("k8s-redis", config.HostKey{Private: private, Public: "ssh-ed25519 AAAA"}))
	require.NoError(t, err)
	assert.True(t, result.Secret, "a preview would show the private key")
	assert.Regexp(t, "^#cloud-config\n", result.Value)
	var found map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(result.Value.(string)), &found))
	assert.Equal(t, map[string]any{
		"hostname": "k8s-redis", "manage_etc_hosts": true, "ssh_pwauth": false,
		"ssh_keys": map[string]any{
			"ed25519_public":  "ssh-ed25519 AAAA",
			"ed25519_private": "-----BEGIN KEY-----\nline 1\nline 2\n-----END KEY-----\n",
		},
	}, found)
}
