package stack

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
)

// A stack file that is in use with a real account works in the rehearsal: its secrets, which only its owner can
// decrypt, are replaced, and the rehearsal's operator is added to the permitted addresses.
func TestSettingsOfAStackInUse(t *testing.T) {
	repo, state := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(repo, "Pulumi.dev.yaml"), []byte(`
secretsprovider: awskms://alias/eco2
encryptedkey: AQICAHh
config:
  eco2:adminCidrs: [203.0.113.7/32]
  eco2:domain: dev.example.com
  eco2:hostedZoneId: Z0123456789ABCDEFGHIJ
  eco2:redisPassword: {secure: v1:somebody:else}
`), 0o600))
	secrets, err := loadThrowAway(state)
	require.NoError(t, err)
	s := &Stack{Name: "dev", Project: "eco2", dir: state}
	require.NoError(t, s.writeSettings(t.Context(), Options{Repo: repo, StateDir: state}, secrets))

	written, err := readYAML(filepath.Join(state, "Pulumi.dev.yaml"))
	require.NoError(t, err)
	assert.NotContains(t, written, "secretsprovider")
	assert.NotContains(t, written, "encryptedkey")
	assert.Equal(t, secrets.EncryptionSalt, written["encryptionsalt"], "otherwise the engine would derive its key twice")
	values := written["config"].(map[string]any)
	assert.Equal(t, []any{"203.0.113.7/32", setup.OperatorAddress + "/32"}, values["eco2:adminCidrs"])
	assert.Equal(t, "Z0123456789ABCDEFGHIJ", values["eco2:hostedZoneId"])
	crypter := config.NewSymmetricCrypterFromPassphrase(secrets.Passphrase, secrets.Salt)
	for _, name := range append(passwordKeys, "sshPrivateKey") {
		encrypted := values["eco2:"+name].(map[string]any)["secure"].(string)
		plain, err := crypter.DecryptValue(t.Context(), encrypted)
		require.NoError(t, err, name)
		assert.NotEmpty(t, plain, name)
	}

	again, err := loadThrowAway(state)
	require.NoError(t, err)
	assert.Equal(t, secrets, again, "another key would replace the key pair in every run")
}

// Only a command that ran on the terminal has printed its error. Other failures must still be printed, including those
// of other commands, such as a compiler's.
func TestFailuresTellWhetherTheyWereShown(t *testing.T) {
	s := &Stack{tools: toolchain.Toolchain{Pulumi: "false"}, dir: t.TempDir()}
	var failed *FailedError
	require.ErrorAs(t, s.Run(t.Context()), &failed)
	assert.Equal(t, 1, failed.Code)
	_, err := s.Output(t.Context())
	require.Error(t, err)
	assert.False(t, errors.As(err, &failed), "captured output was not shown")
}

func TestAnUnknownStackIsAnError(t *testing.T) {
	s := &Stack{Name: "staging", Project: "eco2", dir: t.TempDir()}
	err := s.writeSettings(t.Context(), Options{Repo: t.TempDir()}, throwAway{})
	require.EqualError(t, err, `there is no stack "staging": the stacks are local, dev and prod`)
}

// The lock of a killed run is removed; that of a running one is kept.
func TestLocks(t *testing.T) {
	state := t.TempDir()
	s := &Stack{Name: "dev", Project: "eco2", StateDir: state}
	require.NoError(t, s.breakStaleLock())
	dir := filepath.Join(state, "backend", ".pulumi", "locks", "organization", "eco2", "dev")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	lock := filepath.Join(dir, "0.json")
	require.NoError(t, os.WriteFile(lock, []byte(`{"pid": 1}`), 0o600))
	assert.EqualError(t, s.breakStaleLock(), "stack dev is being worked on by process 1; wait for it, or stop it")
	require.NoError(t, os.WriteFile(lock, []byte(`{"pid": 99999999}`), 0o600)) // above the kernel's largest
	require.NoError(t, s.breakStaleLock())
	assert.NoFileExists(t, lock)
}
