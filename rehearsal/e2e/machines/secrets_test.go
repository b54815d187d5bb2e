package machines

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/hosts/docker"
)

// joinToken matches bootstrap tokens in kubeadm's format.
var joinToken = regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`)

// readable is a script that packs the world-readable files of a machine, and all logs, shell histories and temporary
// files regardless of their permissions. The journal is packed as text. The machine works on meanwhile: files may vanish,
// and logs grow, for which tar's exit status is 1.
const readable = `
set -euo pipefail
mkdir /run/journal-of-test && journalctl --no-pager --all >/run/journal-of-test/text
{
  find /var/log /tmp /var/tmp /run /usr/local -xdev -ignore_readdir_race -type f ! -name '*.journal'
  find /etc /root /home -xdev -ignore_readdir_race -type f \( -perm -o=r -o -name '*history' \)
} | { tar --create --absolute-names --ignore-failed-read --warning=none --files-from=- || [ $? -eq 1 ]; }
rm -r /run/journal-of-test
`

// on runs a script on a machine as root, and returns its output.
func (c *cluster) on(node, script string) []byte {
	c.t.Helper()
	m, ok := c.machines()[node]
	require.True(c.t, ok, "there is no machine %s", node)
	cmd := m.Command(c.t.Context(), "bash", "-s")
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &problems
	require.NoError(c.t, cmd.Run(), "on %s: %s", node, problems.String())
	return out.Bytes()
}

// secrets returns the secrets of the stack, and those that its machines generated themselves.
func (c *cluster) secrets() *world.Secrets {
	c.t.Helper()
	secrets := c.ThrowAway()
	find := func(name, file, pattern string) string {
		found := regexp.MustCompile(pattern).FindSubmatch(c.on("k8s-master", "cat "+file))
		require.NotNil(c.t, found, "%s has no %s", file, name)
		return string(found[1])
	}
	secrets.Add("the key of etcd's secrets", find("key", "/etc/kubernetes/encryption.yaml", `(?m)^ +secret: (\S+)$`))
	encoded := find("key", "/etc/kubernetes/admin.conf", `(?m)^ +client-key-data: (\S+)$`)
	secrets.Add("the administrator's key, as the file has it", private(encoded))
	text, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(c.t, err)
	secrets.Add("the administrator's key", private(string(text)))
	for name, file := range map[string]string{"the authority's key": "ca.key", "the service accounts' key": "sa.key", "etcd's authority's key": "etcd/ca.key"} {
		secrets.Add(name, private(string(c.on("k8s-master", "cat /etc/kubernetes/pki/"+file))))
	}
	return secrets
}

// private returns the second half of an RSA key. The first half contains the modulus, which is also in certificates.
func private(text string) string { return text[len(text)/2:] }

// noSecretShows searches for secrets in what an update printed, in what it left on this host, in this host's processes,
// and on the machines.
func (c *cluster) noSecretShows(t *testing.T, printed, events string, processes *world.Processes) {
	t.Helper()
	secrets := c.secrets()
	for what, text := range map[string]string{
		"the update's output": printed, "its events": readFile(t, events), "the killed update's output": readFile(t, filepath.Join(c.Dir, "killed.log")),
	} {
		require.NotEmpty(t, text, what)
		assert.Empty(t, secrets.In(text), what)
		assert.Empty(t, joinToken.FindString(text), what)
		assert.NotContains(t, text, "PRIVATE KEY", what)
	}
	// Except for the programs, the administrator's kubeconfig, which connect wrote, and the contents of the machines' disks,
	// which only root can read.
	assert.Empty(t, c.SecretsInFiles(secrets, "bin", "kubeconfig", docker.DisksDirectory))
	disks, err := os.Stat(filepath.Join(c.Dir, docker.DisksDirectory))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), disks.Mode().Perm())

	// The machines' processes are visible on this host.
	assert.Empty(t, processes.SecretsShown(secrets, c.Tools.Program))
	ran := map[string]bool{}
	for _, process := range processes.Seen() {
		ran[filepath.Base(process.Path)] = true
		assert.Empty(t, joinToken.FindString(strings.Join(process.Args, " ")), process.Path)
	}
	for _, name := range []string{"pulumi", "kubeadm", "kube-apiserver", "ssh-agent", "ssh"} {
		assert.True(t, ran[name], "%s was not seen", name)
	}

	for node := range c.machines() {
		files := 0
		archive := tar.NewReader(bytes.NewReader(c.on(node, readable)))
		for {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			data, err := io.ReadAll(archive)
			require.NoError(t, err)
			files++
			assert.Empty(t, secrets.In(string(data)), "%s:%s", node, header.Name)
			assert.NotRegexp(t, `^/run/eco2[.-]|^/tmp/`, header.Name, node)
		}
		assert.Greater(t, files, 100, node)
		c.modes(t, node)
	}
	tokens := strings.TrimSpace(string(c.on("k8s-master", "kubeadm token list")))
	assert.Empty(t, tokens, "no join token is left")
	agents := string(c.on("k8s-master", "pgrep --list-full ssh-agent || true"))
	assert.Empty(t, agents, "no agent is left with the machines' key")
	c.etcdIsEncrypted(t)
}

// modes checks that only root can read the credentials on a machine, and that its user data, which every process on it
// can read, has no other secret than its own SSH host key.
func (c *cluster) modes(t *testing.T, node string) {
	t.Helper()
	names := "/etc/kubernetes/kubelet.conf /var/lib/kubelet/pki/kubelet-client-current.pem /etc/ssh/ssh_host_ed25519_key"
	if node == "k8s-master" {
		names += " /etc/kubernetes/{admin,controller-manager,scheduler}.conf /etc/kubernetes/{encryption,kubeadm}.yaml" +
			" /etc/kubernetes/pki/*.key /etc/kubernetes/pki/etcd/*.key /root/.ssh /root/.ssh/eco2_known_hosts"
	}
	for line := range strings.Lines(string(c.on(node, "stat --dereference --format='%U %A %n' "+names))) {
		assert.Regexp(t, `^root [d-]rw[x-]------ `, line, node)
	}
	data := string(c.on(node, `
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
curl -sf -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/user-data`))
	public, _, _ := strings.Cut(string(c.on(node, "cat /etc/ssh/ssh_host_*_key.pub")), " root@")
	assert.Regexp(t, "^"+regexp.QuoteMeta(fmt.Sprintf("#cloud-config\nhostname: %s\nmanage_etc_hosts: true\nssh_pwauth: false\n"+
		"ssh_keys:\n  ed25519_public: %s\n  ed25519_private: |\n", node, strings.TrimSpace(public)))+
		`    -----BEGIN OPENSSH PRIVATE KEY-----\n(    [A-Za-z0-9+/=]+\n)+    -----END OPENSSH PRIVATE KEY-----$`, strings.TrimSpace(data))
	if node == "k8s-master" {
		c.on(node, "! test -e /etc/kubernetes/super-admin.conf")
	}
}

// etcdIsEncrypted checks that a Secret's value cannot be found in etcd's files, while a ConfigMap's can.
func (c *cluster) etcdIsEncrypted(t *testing.T) {
	t.Helper()
	const secret, public = "SecretSesameInEtcd", "PublicSesameInEtcd"
	c.kubectl("create", "secret", "generic", "sesame", "--from-literal=open="+secret)
	c.kubectl("create", "configmap", "sesame", "--from-literal=open="+public)
	in := func(word string) string {
		return string(c.on("k8s-master", "grep --recursive --text --files-with-matches --fixed-strings "+word+" /var/lib/etcd || true"))
	}
	assert.NotEmpty(t, in(public), "otherwise the search does not work")
	assert.Empty(t, in(secret))
	assert.NotEmpty(t, in("k8s:enc:secretbox:v1:key1:"))
	c.kubectl("delete", "secret/sesame", "configmap/sesame")
}

// events creates a file for the log of the engine's events, and returns its path.
func (c *cluster) events() string {
	c.t.Helper()
	file, err := os.CreateTemp(c.Dir, "events-*.jsonl")
	require.NoError(c.t, err)
	require.NoError(c.t, file.Close())
	return file.Name()
}
