package infra

import (
	"encoding/base64"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"eco2/config"
)

const publicKey = "ssh-ed25519 AAAA"

// userDataOf returns the user data of k8s-redis as EC2 gets it, and decoded.
func userDataOf(t *testing.T) (encoded, text string) {
	t.Helper()
	private := pulumi.ToSecret(pulumi.String("-----BEGIN KEY-----\nline 1\nline 2\n-----END KEY-----\n")).(pulumi.StringOutput)
	result, err := internals.UnsafeAwaitOutput(t.Context(), userData("k8s-redis", config.HostKey{Private: private, Public: publicKey}))
	require.NoError(t, err)
	assert.True(t, result.Secret, "a preview would show the private key")
	encoded = result.Value.(string)
	data, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	return encoded, string(data)
}

func TestUserData(t *testing.T) {
	_, text := userDataOf(t)
	assert.Regexp(t, "^#cloud-config\n", text)
	var found map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &found))
	assert.Equal(t, map[string]any{
		"hostname": "k8s-redis", "manage_etc_hosts": true, "ssh_pwauth": false,
		"ssh_keys": map[string]any{
			"ed25519_public":  publicKey,
			"ed25519_private": "-----BEGIN KEY-----\nline 1\nline 2\n-----END KEY-----\n",
		},
	}, found)
}

// The host key of a living machine must be the one in its user data. A machine of an earlier version has none there.
func TestPublicHostKey(t *testing.T) {
	encoded, _ := userDataOf(t)
	for name, test := range map[string]struct{ userData, want string }{
		"of this version":       {encoded, publicKey},
		"of an earlier version": {"", ""},
		"without a key":         {base64.StdEncoding.EncodeToString([]byte("#cloud-config\nhostname: k8s-redis\n")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := publicHostKey(test.userData)
			require.NoError(t, err)
			assert.Equal(t, test.want, key)
		})
	}
	_, err := publicHostKey("#cloud-config")
	assert.ErrorContains(t, err, "decoding the user data of a machine")
}
