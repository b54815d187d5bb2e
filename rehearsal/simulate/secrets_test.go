package simulate

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

	"eco2/rehearsal/aws"
	"eco2/rehearsal/fault"
	"eco2/rehearsal/stack"
	"eco2/rehearsal/stacktest"
	"eco2/rehearsal/store"
)

// passwords are the settings that hold one.
var passwords = []string{"postgresPassword", "redisPassword", "rabbitmqPassword", "grafanaPassword"}

// planted is a world whose secrets are known to the test, and everything that they could show in.
type planted struct {
	*stacktest.World
	secrets *stacktest.Secrets
	// events is where the engine's logs of events go, temporary what its processes have for temporary files.
	events, temporary string
}

// plant makes a world with recognisable secrets. What machines would make is the models' own: a kubeconfig. A
// join's token and the key of etcd's secrets are in no model; TestCluster has real ones.
func plant(t *testing.T) *planted {
	t.Helper()
	w := &planted{World: newWorld(t, "dev", ""), temporary: t.TempDir()}
	w.events = filepath.Join(w.Dir, "events")
	require.NoError(t, os.Mkdir(w.events, 0o755))
	w.Options.Environ = []string{"TMPDIR=" + w.temporary}
	w.OwnHome()
	w.secrets = w.ThrowAway() // the passphrase, and what is planted in the place of the others
	for _, name := range passwords {
		w.Options.Config[name] = stack.Secret(w.password(name))
	}
	key := w.key(t, "sshPrivateKey")
	w.Options.Config["sshPrivateKey"] = stack.Secret(key)
	seal := hmac.New(sha256.New, []byte(key))
	seal.Write([]byte("the result of kubeconfig"))
	w.secrets.Add("the seal of the kubeconfig", hex.EncodeToString(seal.Sum(nil)))
	const words = "simulated client key of cluster "
	w.secrets.AddWhole("the kubeconfig's key", words)
	w.secrets.AddWhole("the kubeconfig's key, as the file has it", base64.StdEncoding.EncodeToString([]byte(words)))
	return w
}

// password is a new one, of which each word can be recognised, with all that a quoting might trip over.
func (w *planted) password(name string) string {
	value := "Sesame" + rand.Text()[:10] + ` '"\ <&>$%{}/é ` + "Sesame" + rand.Text()[:10]
	w.secrets.Add(name, value)
	return value
}

// key is a new one in OpenSSH form.
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

// lockedKey is one that a passphrase opens.
func (w *planted) lockedKey(t *testing.T, name string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("a passphrase"))
	require.NoError(t, err)
	body := base64.StdEncoding.EncodeToString(block.Bytes)
	w.secrets.Add(name, body[len(body)-128:]) // its encrypted part, and not what all such keys begin with
	return string(pem.EncodeToMemory(block))
}

// run runs the command and searches what it prints.
func (w *planted) run(t *testing.T, fails bool, args ...string) string {
	t.Helper()
	printed, err := w.Pulumi(args...)
	if fails {
		require.Error(t, err, printed)
	} else {
		require.NoError(t, err, printed)
	}
	assert.Empty(t, w.secrets.In(printed), "%q shows them", args)
	return printed
}

// operate runs an up, a preview, a refresh or a destroy, and searches its log of events too.
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
	assert.Empty(t, w.secrets.In(string(events)), "the events of %q show them", args)
	return printed
}

// previews runs all forms of a preview.
func (w *planted) previews(t *testing.T) {
	t.Helper()
	for _, form := range [][]string{nil, {"--diff"}, {"--json"}, {"--diff", "--show-sames", "--show-replacement-steps"}} {
		w.operate(t, false, append([]string{"preview"}, form...)...)
	}
}

// files searches everything that is left in files.
func (w *planted) files(t *testing.T) {
	t.Helper()
	assert.Empty(t, w.Left(w.secrets))
	left, err := os.ReadDir(w.temporary)
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary file is left")
}

// A secret is printed by no command, whether it succeeds or fails, and in no log; it is in no list of processes, and
// no file but encrypted, whatever form it may have taken. What the engine masks by its text alone would be found
// in another form.
func TestNoSecretIsShownOrLeftInTheClear(t *testing.T) {
	t.Parallel()
	w := plant(t)
	processes := stacktest.WatchProcesses(t)
	good := maps.Clone(w.Options.Config)

	t.Run("settings that are refused", func(t *testing.T) {
		for _, name := range append(passwords, "sshPrivateKey") {
			w.Options.Config[name] = string(w.Options.Config[name].(stack.Secret))
		}
		// This is what the refusal is about: the settings' file has them in the clear, and so have the engine's
		// copies of it, in a log of events or the history of updates.
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

	t.Run("previews of what is not there yet", func(t *testing.T) { w.previews(t) })

	t.Run("updates that fail", func(t *testing.T) {
		for _, f := range []struct {
			fault.Fault
			says string
		}{
			{fault.Fault{Kind: fault.Throttled, Method: "Create", Type: "aws:ssm/parameter:Parameter", Name: "data-postgres-password"}, "RequestLimitExceeded"},
			{fault.Fault{Kind: fault.Dropped, Name: "init-k8s-master"}, "without exit status"},
			// The provider's error has all that was printed before.
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

	t.Run("an update that ends well, and all that can be asked of it", func(t *testing.T) {
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

	t.Run("the end", func(t *testing.T) {
		require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Throttled, Method: "Delete", Type: "aws:ssm/parameter:Parameter", Times: 1}))
		assert.Contains(t, w.operate(t, true, "destroy", "--diff"), "RequestLimitExceeded")
		w.operate(t, false, "destroy", "--diff")
		w.files(t)
	})

	t.Run("processes", func(t *testing.T) {
		assert.Empty(t, processes.Shown(w.secrets, w.Tools.Program))
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
