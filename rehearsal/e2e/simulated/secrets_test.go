package simulated

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/internal/fault"
	"eco2/rehearsal/internal/store"
)

// passwords are the settings that contain a password.
var passwords = []string{"postgresPassword", "redisPassword", "rabbitmqPassword", "grafanaPassword"}

// planted is a world whose secrets the test knows, with all the places where they could show.
type planted struct {
	*world.World
	secrets *world.Secrets
	// events is the directory of the engine's event logs, temporary that of its processes' temporary files.
	events, temporary string
}

// plant makes a world with recognisable secrets. Of the secrets that machines generate, the models have a kubeconfig
// only. TestCluster has a real join token and a real encryption key of etcd.
func plant(t *testing.T) *planted {
	t.Helper()
	w := &planted{World: newWorld(t, "dev", ""), temporary: t.TempDir()}
	w.events = filepath.Join(w.Dir, "events")
	require.NoError(t, os.Mkdir(w.events, 0o755))
	w.Options.Environ = []string{"TMPDIR=" + w.temporary}
	w.OwnHome()
	w.secrets = w.ThrowAway() // with the passphrase; the other ones are replaced below
	for _, name := range passwords {
		w.Options.Config[name] = stack.Secret(w.password(name))
	}
	key := w.key(t, "sshPrivateKey")
	w.Options.Config["sshPrivateKey"] = stack.Secret(key)
	encryptionKey := hmac.New(sha256.New, []byte(key))
	encryptionKey.Write([]byte("the result of kubeconfig"))
	w.secrets.Add("the encryption key of the kubeconfig", hex.EncodeToString(encryptionKey.Sum(nil)))
	const words = "simulated client key of cluster "
	w.secrets.AddWhole("the kubeconfig's key", words)
	w.secrets.AddWhole("the kubeconfig's key, as the file has it", base64.StdEncoding.EncodeToString([]byte(words)))
	return w
}

// password returns a new password and adds it to the secrets. Each of its words can be recognised, and it has the
// characters that are easily quoted wrongly.
func (w *planted) password(name string) string {
	value := "Sesame" + rand.Text()[:10] + ` '"\ <&>$%{}/é ` + "Sesame" + rand.Text()[:10]
	w.secrets.Add(name, value)
	return value
}

// key returns a new key in OpenSSH's format, and adds it to the secrets.
func (w *planted) key(t *testing.T, name string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	text := string(pem.EncodeToMemory(block))
	require.NoError(t, w.secrets.AddKey(name, text))
	return text
}

// lockedKey returns a new key that is protected by a passphrase, and adds it to the secrets.
func (w *planted) lockedKey(t *testing.T, name string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("a passphrase"))
	require.NoError(t, err)
	body := base64.StdEncoding.EncodeToString(block.Bytes)
	w.secrets.Add(name, body[len(body)-128:]) // its encrypted part only: all such keys have the same beginning
	return string(pem.EncodeToMemory(block))
}

// run runs a pulumi command and searches its output.
func (w *planted) run(t *testing.T, fails bool, args ...string) string {
	t.Helper()
	printed, err := w.Pulumi(args...)
	if fails {
		require.Error(t, err, printed)
	} else {
		require.NoError(t, err, printed)
	}
	assert.Empty(t, w.secrets.In(printed), "the output of %q contains secrets", args)
	return printed
}

// operate runs an up, a preview, a refresh or a destroy, and searches its event log too.
func (w *planted) operate(t *testing.T, fails bool, args ...string) string {
	t.Helper()
	file, err := os.CreateTemp(w.events, args[0]+"-*.jsonl")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	args = append(args, "--event-log", file.Name(), "--parallel", "64")
	if args[0] != "preview" {
		args = append(args, "--yes", "--skip-preview")
	}
	printed := w.run(t, fails, args...)
	events, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.NotEmpty(t, events)
	assert.Empty(t, w.secrets.In(string(events)), "the events of %q contain secrets", args)
	return printed
}

// previews runs all variants of a preview.
func (w *planted) previews(t *testing.T) {
	t.Helper()
	for _, form := range [][]string{nil, {"--diff"}, {"--json"}, {"--diff", "--show-sames", "--show-replacement-steps"}} {
		w.operate(t, false, append([]string{"preview"}, form...)...)
	}
}

// files searches all files that are left.
func (w *planted) files(t *testing.T) {
	t.Helper()
	assert.Empty(t, w.SecretsInFiles(w.secrets))
	left, err := os.ReadDir(w.temporary)
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary file is left")
}

// No command prints a secret, whether it succeeds or fails; no log, process list or unencrypted file contains one, in
// whatever encoding. This also finds a secret that the engine masks only in its exact form, and that appears in another
// one.
func TestNoSecretIsShownOrLeftInTheClear(t *testing.T) {
	t.Parallel()
	w := plant(t)
	processes := world.WatchProcesses(t)
	good := maps.Clone(w.Options.Config)

	t.Run("settings that are refused", func(t *testing.T) {
		for _, name := range append(passwords, "sshPrivateKey") {
			w.Options.Config[name] = string(w.Options.Config[name].(stack.Secret))
		}
		// Here the settings' file has the secrets in plain text, which is the reason of the refusal. So do the engine's
		// copies of it, in an event log or the history of updates, which are therefore not searched.
		assert.Equal(t, 5, strings.Count(w.run(t, true, "preview"), "is in plain text"))

		w.Options.Config = maps.Clone(good)
		broken := "-----BEGIN OPENSSH PRIVATE KEY-----\nBrokenSesame" + rand.Text() + "\n-----END OPENSSH PRIVATE KEY-----"
		w.secrets.Add("the broken key", broken)
		long := strings.Repeat("LongSesame"+rand.Text(), 200)
		w.secrets.Add("the long password", long)
		w.Options.Config["sshPrivateKey"], w.Options.Config["redisPassword"] = stack.Secret(broken), stack.Secret(long)
		printed := w.operate(t, true, "up")
		assert.Contains(t, printed, "is not a private key")
		assert.Contains(t, printed, "an SSM parameter holds 4096")

		w.Options.Config["sshPrivateKey"] = stack.Secret(w.lockedKey(t, "the locked key"))
		assert.Contains(t, w.operate(t, true, "up"), "is protected by a passphrase")
		w.Options.Config = maps.Clone(good)
	})

	t.Run("previews before the first update", func(t *testing.T) { w.previews(t) })

	t.Run("updates that fail", func(t *testing.T) {
		for _, f := range []struct {
			fault.Fault
			says string
		}{
			{fault.Fault{Kind: fault.Throttled, Method: "Create", Type: "aws:ssm/parameter:Parameter", Name: "data-postgres-password"}, "RequestLimitExceeded"},
			{fault.Fault{Kind: fault.Dropped, Name: "init-k8s-master"}, "without exit status"},
			// The provider's error contains all output until then.
			{fault.Fault{Kind: fault.Dropped, Name: "kubeconfig"}, "without exit status"},
			{fault.Fault{Kind: fault.Refused, Name: "eco2-dev-k8s-redis", Seconds: 300}, "Connection refused"},
			{fault.Fault{Kind: fault.Refused, Name: "eco2-dev-k8s-master", Seconds: 300}, "connection refused"},
			{fault.Fault{Kind: fault.Dropped, Name: "prepare-k8s-redis"}, "without exit status"},
			{fault.Fault{Kind: fault.TokenExpired, Name: "join-k8s-redis"}, "couldn't validate the identity"},
			{fault.Fault{Kind: fault.Dropped, Name: "join-k8s-redis"}, "without exit status"},
			{fault.Fault{Kind: fault.OtherContent, Name: "argocd"}, "does not have the pinned checksum"},
			{fault.Fault{Kind: fault.NeverReady, Name: "external-secrets"}, "has been uninstalled due to atomic"},
		} {
			f.Times = 1
			require.NoError(t, fault.Plant(w.Dir, f.Fault))
			assert.Contains(t, w.operate(t, true, "up", "--diff"), f.says, "%+v", f.Fault)
		}
		w.files(t)
	})

	t.Run("an update that succeeds, and all commands that show its stack", func(t *testing.T) {
		w.operate(t, false, "up", "--diff")
		w.previews(t)
		w.operate(t, false, "up", "--json")
		w.operate(t, false, "refresh", "--diff")
		for _, args := range [][]string{
			{"stack"}, {"stack", "output"}, {"stack", "output", "--json"}, {"stack", "output", "kubeconfig"},
			{"stack", "export"}, {"stack", "history"}, {"config"}, {"config", "--json"},
			{"preview", "--save-plan", filepath.Join(w.Dir, "saved-plan.json")},
		} {
			w.run(t, false, args...)
		}
		w.files(t)
	})

	t.Run("other secrets", func(t *testing.T) {
		w.Options.Config["postgresPassword"] = stack.Secret(w.password("postgresPassword"))
		w.previews(t)
		w.operate(t, false, "up", "--diff")
		// A key that no machine knows.
		w.Options.Config["sshPrivateKey"] = stack.Secret(w.key(t, "the other key"))
		w.previews(t)
		assert.Contains(t, w.operate(t, true, "up", "--diff"), "unable to authenticate")
		w.Options.Config["sshPrivateKey"] = good["sshPrivateKey"]
		w.operate(t, false, "up", "--diff")
		w.files(t)
	})

	t.Run("a password that somebody changed in AWS", func(t *testing.T) {
		changed := w.password("redisPassword")
		require.NoError(t, store.Open(filepath.Join(w.Dir, aws.StateFile)).Update(func(tx *store.Tx) error {
			var id string
			var parameter map[string]any
			require.NoError(t, store.Each(tx, "parameter", func(key string, value map[string]any) error {
				if value["name"] == "/eco2/dev/data/redis-password" {
					id, parameter = key, value
				}
				return nil
			}))
			parameter["value"] = changed
			return tx.Put("parameter", id, parameter)
		}))
		w.operate(t, false, "refresh", "--diff")
		w.operate(t, false, "preview", "--diff")
		w.operate(t, false, "up", "--diff")
	})

	t.Run("a destroy that fails, and one that succeeds", func(t *testing.T) {
		require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Throttled, Method: "Delete", Type: "aws:ssm/parameter:Parameter", Times: 1}))
		assert.Contains(t, w.operate(t, true, "destroy", "--diff"), "RequestLimitExceeded")
		w.operate(t, false, "destroy", "--diff")
		w.files(t)
	})

	t.Run("processes", func(t *testing.T) {
		assert.Empty(t, processes.SecretsShown(w.secrets, w.Tools.Program))
		seen := map[string]bool{}
		for _, process := range processes.Seen() {
			if process.Of(w.World) {
				seen[filepath.Base(process.Path)] = true
			}
		}
		t.Logf("processes seen: %s", slices.Sorted(maps.Keys(seen)))
		for _, name := range []string{
			"pulumi", "pulumi-language-go", filepath.Base(w.Tools.Program), "bash",
			"pulumi-resource-aws", "pulumi-resource-command", "pulumi-resource-kubernetes",
		} {
			assert.True(t, seen[name], "%s was not seen", name)
		}
	})
}
