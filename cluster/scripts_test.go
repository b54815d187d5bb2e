package cluster

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testHost runs the control plane's scripts with a stand-in for kubectl and with their directories below a temporary
// one.
type testHost struct {
	*testing.T
	dir string
}

// newTestHost returns a host whose kubectl answers `get KIND` with the content of the file KIND-, and `get node NAME`
// with that of node-NAME. It records all calls other than get in the file calls.
func newTestHost(t *testing.T) testHost {
	t.Helper()
	c := testHost{t, t.TempDir()}
	c.command("kubectl", `[[ $* != "get --raw=/readyz" ]] || exit 0
[[ $* != *--filename=- ]] || cat >/dev/null
[[ $1 == get ]] || { echo "$*" >>"`+c.dir+`/calls"; exit 0; }
cat "`+c.dir+`/$2-$([[ $2 == node ]] && echo "$3")" 2>/dev/null || true
`)
	return c
}

func (c testHost) write(name, content string) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(c, os.WriteFile(path, []byte(content), 0o600))
}

func (c testHost) read(name string) string {
	c.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(c, err)
	return string(data)
}

// run runs a script that must succeed, and returns its output and the calls of kubectl other than get.
func (c testHost) run(script string, args ...string) (printed, calls string) {
	c.Helper()
	printed, err := c.try(script, "", args...)
	require.NoError(c, err, printed)
	return printed, c.read("calls")
}

// try runs a script with data on its standard input, and returns its output.
func (c testHost) try(script, data string, args ...string) (printed string, err error) {
	c.Helper()
	require.NoError(c, os.RemoveAll(filepath.Join(c.dir, "calls")))
	text, err := scriptText(script)
	require.NoError(c, err)
	cmd := exec.CommandContext(c.Context(), "bash", append([]string{"-s", "--"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(c.local(text) + data)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// local returns a script's text with its directories below the host's own. What does not respond at first does not
// respond later.
func (c testHost) local(text string) string {
	c.Helper()
	for path, own := range map[string]string{
		"/run/eco2.": c.dir + "/scratch.", "/run/lock/": c.dir + "/lock-",
		"NODES=/etc/eco2/nodes":                   "NODES=" + c.dir + "/nodes",
		"SCRIPTS=/usr/local/lib/eco2":             "SCRIPTS=" + c.dir + "/scripts",
		"KNOWN_HOSTS=/root/.ssh/eco2_known_hosts": "KNOWN_HOSTS=" + c.dir + "/ssh/known_hosts",
	} {
		require.Contains(c, text, path)
		text = strings.ReplaceAll(text, path, own)
	}
	for _, path := range []string{"/etc/kubernetes", "/etc/cni", "/etc/systemd", "/var/lib/etcd", "/var/lib/eco2", "/var/log/eco2", "/run/eco2-join", "/dev/disk"} {
		text = strings.ReplaceAll(text, path, c.dir+path)
	}
	text = strings.ReplaceAll(text, "[[ -b $device ]]", "[[ -e $device ]]") // only root could create a device
	return strings.NewReplacer("REBOOT=/run/reboot-required", "REBOOT='"+c.dir+"/reboot-${NODE:-k8s-master}'", "READY_LIMIT=300", "READY_LIMIT=0", "REACH_LIMIT=180", "REACH_LIMIT=0", "retry 180 ", "retry 0 ", `"$volume" 180`, `"$volume" 0`).Replace(text)
}

// command installs a stand-in for a command.
func (c testHost) command(name, text string) {
	c.Helper()
	c.write("bin/"+name, "#!/bin/bash\n"+text)
	require.NoError(c, os.Chmod(filepath.Join(c.dir, "bin", name), 0o755))
}

// newHostOfWorker returns a host with stand-ins for SSH. They run what is for the worker at 10.0.0.5 on this machine.
func newHostOfWorker(t *testing.T) testHost {
	t.Helper()
	c := newTestHost(t)
	c.command("ssh-agent", `echo 'SSH_AGENT_PID=1; export SSH_AGENT_PID;'; [[ $1 != -k ]] || echo stopped >>"`+c.dir+`/agent"`)
	c.command("ssh-add", `cat >"`+c.dir+`/key"; grep --quiet BEGIN "`+c.dir+`/key"`)
	c.command("sudo", `exec "${@:2}"`)
	// The arguments of ssh: options, then the machine, then words for the remote shell.
	c.command("ssh", `while [[ $1 == -o ]]; do echo "$2" >>"`+c.dir+`/options"; shift 2; done
[[ $1 == ubuntu@10.0.0.5 ]] || { echo 'Permission denied' >&2; exit 255; }
[[ ! -e "`+c.dir+`/cut" || $* == *"bash -s --" ]] || exit 255
exec bash -c "${*:2}"`)
	c.command("sleep", "")
	return c
}

// The files that install.sh writes must be the texts from which the program calculates the hashes. A later run deletes
// scripts that the program no longer has.
func TestInstall(t *testing.T) {
	c := newTestHost(t)
	c.write("scripts/gone.sh", "of an earlier version")
	input, err := installInput()
	require.NoError(t, err)
	printed, err := c.try("install", input)
	require.NoError(t, err, printed)
	found, err := os.ReadDir(filepath.Join(c.dir, "scripts"))
	require.NoError(t, err)
	sources, err := files.ReadDir("scripts")
	require.NoError(t, err)
	assert.Len(t, found, len(sources)-2, "all except the library and install.sh")
	for _, file := range found {
		want, err := scriptText(strings.TrimSuffix(file.Name(), ".sh"))
		require.NoError(t, err)
		assert.Equal(t, want, c.read("scripts/"+file.Name()), file.Name())
		assert.True(t, strings.HasSuffix(want, "main \"$@\"; exit\n"), "%s: bash would execute its data as commands", file.Name())
	}
}

// relay.sh runs a script on the worker with its arguments unchanged, and exits with the script's status.
func TestRelay(t *testing.T) {
	const key = "\n-----BEGIN KEY-----\nsecret\n"
	relay := []string{
		"--node", "k8s-redis", "--address", "10.0.0.5", "--host-key", "", "--user", "ubuntu", "--provider-id", "aws:///a/i-1",
		"--script", "there", "--",
	}
	worker := func(t *testing.T) testHost {
		c := newHostOfWorker(t)
		c.write("scripts/there.sh", `printf '<%s>' "$@"; exit "${#2}"`)
		return c
	}
	t.Run("with its arguments", func(t *testing.T) {
		c := worker(t)
		printed, err := c.try("relay", key, append(relay, "a b", "", "it's", `$HOME"`, "--node", "x")...)
		require.NoError(t, err, printed)
		assert.Contains(t, printed, `<a b><><it's><$HOME"><--node><x>`)
		assert.Equal(t, "-----BEGIN KEY-----\nsecret\n", c.read("key"))
		assert.Equal(t, "stopped\n", c.read("agent"))
		assert.Contains(t, c.read("options"), "HostKeyAlias=i-1\n")
		assert.Contains(t, c.read("options"), "UserKnownHostsFile="+c.dir+"/ssh/known_hosts/k8s-redis\n")
		assert.Contains(t, c.read("options"), "StrictHostKeyChecking=accept-new\n")
		assert.NotContains(t, printed, "secret")
	})
	t.Run("on a machine whose host key is known", func(t *testing.T) {
		c := worker(t)
		c.write("ssh/known_hosts/k8s-redis", "i-1 ssh-ed25519 of-an-impostor\n")
		printed, err := c.try("relay", key, append(slices.Concat(relay[:5], []string{"ssh-ed25519 AAAA"}, relay[6:]), "a", "")...)
		require.NoError(t, err, printed)
		assert.Contains(t, c.read("options"), "StrictHostKeyChecking=yes\n")
		assert.NotContains(t, c.read("options"), "accept-new")
		assert.Equal(t, "i-1 ssh-ed25519 AAAA\n", c.read("ssh/known_hosts/k8s-redis"))
	})
	t.Run("with its failure", func(t *testing.T) {
		c := worker(t)
		printed, err := c.try("relay", key, append(relay, "a", "three")...)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, printed)
		assert.Equal(t, len("three"), exit.ExitCode())
		assert.Equal(t, "stopped\n", c.read("agent"))
	})
	for name, test := range map[string]struct {
		change func(testHost)
		args   []string
		data   string
		prints string
	}{
		"the connection breaks":  {change: func(c testHost) { c.write("cut", "") }, args: append(relay, "a"), data: key, prints: "error: the connection to k8s-redis broke while there ran there"},
		"there is no key":        {args: append(relay, "a"), data: "no key", prints: "error: standard input holds no private SSH key"},
		"there are no arguments": {args: relay[:len(relay)-1], data: key, prints: "error: the arguments of the script must follow --"},
		"the machine refuses": {change: func(c testHost) { c.command("ssh", "echo 'Permission denied' >&2; exit 255") }, args: append(relay, "a"), data: key,
			prints: "error: cannot log in to k8s-redis as ubuntu over SSH at 10.0.0.5: Permission denied"},
		"another machine answers": {change: func(c testHost) { c.command("ssh", "echo 'Host key verification failed.' >&2; exit 255") }, args: append(relay, "a"), data: key,
			prints: "10.0.0.5: the machine that answers there has another SSH host key, so nothing was sent to it; see docs/operations.md"},
	} {
		t.Run(name, func(t *testing.T) {
			c := worker(t)
			if test.change != nil {
				test.change(c)
			}
			printed, err := c.try("relay", test.data, test.args...)
			require.Error(t, err)
			assert.Contains(t, printed, test.prints)
		})
	}
}

// If AWS took a machine away, its leave script may run at a time when a successor with the same name has already
// joined. Then the successor must stay.
func TestLeaveRemovesOnlyItsOwnMachine(t *testing.T) {
	const first, second = "aws:///a/i-1", "aws:///a/i-2"
	for name, test := range map[string]struct {
		node, record, leaving string
		ready                 string
		leaves                bool
		prints, recordAfter   string
	}{
		"the machine":                                                             {node: first, record: first + " joined", leaving: first, leaves: true, prints: "has left"},
		"the machine, which does not respond":                                     {node: first, ready: "Unknown", leaving: first, leaves: true, prints: "does not respond"},
		"the machine, not recorded":                                               {node: first, leaving: first, leaves: true, prints: "has left"},
		"its successor is the node":                                               {node: second, record: second + " joined", leaving: first, prints: "stays in the cluster: it is the machine " + second, recordAfter: second + " joined"},
		"its successor is the node, unrecorded":                                   {node: second, leaving: first, prints: "stays in the cluster"},
		"there is no such node":                                                   {record: first + " joined", leaving: first, prints: "is not in the cluster"},
		"its successor has not joined yet":                                        {record: second + " joined", leaving: first, prints: "is not in the cluster", recordAfter: second + " joined"},
		"an earlier version's state":                                              {node: first, leaves: true, prints: "has left"},
		"an earlier version's state, and the successor has joined":                {node: second, record: second + " joined", prints: "an earlier one was to leave", recordAfter: second + " joined"},
		"an earlier version's state, and the node was found later":                {node: first, record: first + " found", leaves: true, prints: "has left"},
		"an earlier version's state, and somebody joined another machine by hand": {node: second, record: first + " joined", leaves: true, prints: "has left", recordAfter: first + " joined"},
		"an earlier version's state, and there is no such node":                   {record: first + " joined", prints: "is not in the cluster", recordAfter: first + " joined"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			if test.node != "" {
				c.write("node-k8s-redis", "k8s-redis|"+test.node+"|"+cmp.Or(test.ready, "True"))
			}
			if test.record != "" {
				c.write("nodes/k8s-redis", "10.0.0.5 "+test.record+"\n")
			}
			args := []string{"--node", "k8s-redis"}
			if test.leaving != "" {
				args = append(args, "--provider-id", test.leaving)
			}
			printed, calls := c.run("leave", args...)
			assert.Contains(t, printed, test.prints)
			if test.leaves {
				assert.Equal(t, test.ready == "", strings.Contains(calls, "drain k8s-redis"), calls)
				assert.Contains(t, calls, "delete node k8s-redis")
			} else {
				assert.Empty(t, calls)
			}
			want := ""
			if test.recordAfter != "" {
				want = "10.0.0.5 " + test.recordAfter + "\n"
			}
			assert.Equal(t, want, c.read("nodes/k8s-redis"))
		})
	}
}

// signingRequest is a certificate signing request from a kubelet, or a forged one.
type signingRequest struct {
	user                  string
	groups, usages        []string
	subject               pkix.Name
	names                 []string
	addresses             []string
	emails, uris          []string
	before, after, logged string
	decided               bool
}

func (r signingRequest) object(t *testing.T) map[string]any {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	wanted := &x509.CertificateRequest{Subject: r.subject, DNSNames: r.names, EmailAddresses: r.emails}
	for _, address := range r.addresses {
		wanted.IPAddresses = append(wanted.IPAddresses, net.ParseIP(address))
	}
	for _, text := range r.uris {
		uri, err := url.Parse(text)
		require.NoError(t, err)
		wanted.URIs = append(wanted.URIs, uri)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, wanted, key)
	require.NoError(t, err)
	text := r.before + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})) + r.after
	object := map[string]any{
		"metadata": map[string]any{"name": "csr-1"},
		"spec":     map[string]any{"username": r.user, "groups": list(r.groups), "usages": list(r.usages), "request": base64.StdEncoding.EncodeToString([]byte(text))},
		"status":   map[string]any{},
	}
	if r.logged != "" {
		object["metadata"].(map[string]any)["annotations"] = map[string]any{"eco2.io/not-approved": r.logged}
	}
	if r.decided {
		object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Denied"}}}
	}
	return object
}

// list converts strings to what a JSON decoder returns.
func list(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

// approve.sh approves only requests of a node for its own name and recorded address.
func TestCertificatesAreApprovedOnlyForTheirNode(t *testing.T) {
	script, err := scriptText("approve")
	require.NoError(t, err)
	source := regexp.MustCompile(`go-template='(.*)'`).FindStringSubmatch(script)
	require.NotNil(t, source)
	columns, err := template.New("").Parse(source[1])
	require.NoError(t, err)

	for name, test := range map[string]struct {
		change func(*signingRequest)
		// providerID is the Node's provider ID, or "-" if there is no Node.
		providerID string
		// objection is the reason why the request is not approved, or "-" if none must be logged.
		objection string
	}{
		"the request of a kubelet":                      {},
		"with an RSA key's usages":                      {change: func(r *signingRequest) { r.usages = []string{"digital signature", "key encipherment", "server auth"} }},
		"an earlier objection no longer holds":          {change: func(r *signingRequest) { r.logged = "the program declares no such node" }},
		"already denied":                                {change: func(r *signingRequest) { r.decided = true }, objection: "-"},
		"the Node is another machine":                   {providerID: "aws:///a/i-9", objection: "the node's provider ID is not that of its machine"},
		"there is no Node":                              {providerID: "-", objection: "the node's provider ID is not that of its machine"},
		"from a node that the program does not declare": {change: func(r *signingRequest) { *r = requestOf("k8s-other", "10.0.0.5") }, objection: "the program declares no such node"},
		"from a node whose name is a path":              {change: func(r *signingRequest) { *r = requestOf("..", "10.0.0.5") }, objection: "the program declares no such node"},
		"from a person":                                 {change: func(r *signingRequest) { r.user = "kubernetes-admin" }, objection: "it was not created by a node"},
		"from somebody who is not a node":               {change: func(r *signingRequest) { r.groups = []string{"system:authenticated"} }, objection: "it was not created by a node"},
		"from somebody whose name contains field ends":  {change: func(r *signingRequest) { r.user = "system:node:k8s-redis\"\t[\"system:nodes\"" }, objection: "it was not created by a node"},
		"from somebody whose name contains line ends":   {change: func(r *signingRequest) { r.user = "a\ncsr-2\t\"system:node:k8s-redis\"" }, objection: "it was not created by a node"},
		"for another node's name":                       {change: func(r *signingRequest) { r.names = []string{"k8s-master"} }, objection: "it does not ask for the node's name and address"},
		"for another node's name too":                   {change: func(r *signingRequest) { r.names = append(r.names, "k8s-master") }, objection: "it does not ask for the node's name and address"},
		"for another node's name, behind a line end": {change: func(r *signingRequest) {
			r.names = []string{"k8s-redis, IP Address:10.0.0.5\n", "k8s-master"}
			r.addresses = nil
		}, objection: "it does not ask for the node's name and address"},
		"for another node's address":             {change: func(r *signingRequest) { r.addresses = []string{"10.0.0.4"} }, objection: "it does not ask for the node's name and address"},
		"for another node's address too":         {change: func(r *signingRequest) { r.addresses = append(r.addresses, "10.0.0.4") }, objection: "it does not ask for the node's name and address"},
		"for an address with the same beginning": {change: func(r *signingRequest) { r.addresses = []string{"10.0.0.50"} }, objection: "it does not ask for the node's name and address"},
		"for no name and no address":             {change: func(r *signingRequest) { r.names, r.addresses = nil, nil }, objection: "it does not ask for the node's name and address"},
		"for a mail address too":                 {change: func(r *signingRequest) { r.emails = []string{"a@b.example"} }, objection: "it does not ask for the node's name and address"},
		"for a URI too":                          {change: func(r *signingRequest) { r.uris = []string{"https://k8s-master"} }, objection: "it does not ask for the node's name and address"},
		"with another node's subject":            {change: func(r *signingRequest) { r.subject.CommonName = "system:node:k8s-master" }, objection: "its subject is not that of the node"},
		"with an administrator's subject": {change: func(r *signingRequest) { r.subject.Organization = []string{"system:masters"} },
			objection: "its subject is not that of the node"},
		"with a subject of two groups": {change: func(r *signingRequest) { r.subject.Organization = []string{"system:masters", "system:nodes"} },
			objection: "its subject is not that of the node"},
		"with the usages of a client certificate": {change: func(r *signingRequest) { r.usages = []string{"digital signature", "client auth"} },
			objection: "its usages are not those of a serving certificate"},
		"with the usages of a client certificate too": {change: func(r *signingRequest) { r.usages = append(r.usages, "client auth") },
			objection: "its usages are not those of a serving certificate"},
		"after another request":           {change: func(r *signingRequest) { r.before = "-----BEGIN CERTIFICATE REQUEST-----\n-----END\n" }, objection: "it does not contain exactly one request"},
		"before another request":          {change: func(r *signingRequest) { r.after = "-----BEGIN CERTIFICATE REQUEST-----\n" }, objection: "it does not contain exactly one request"},
		"the objection is already logged": {change: func(r *signingRequest) { r.user, r.logged = "kubernetes-admin", "it was not created by a node" }, objection: "-"},
		"another objection was logged":    {change: func(r *signingRequest) { r.user, r.logged = "kubernetes-admin", "something else" }, objection: "it was not created by a node"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			c.write("nodes/k8s-redis", "10.0.0.5 aws:///a/i-1 joined\n")
			nodes := "k8s-master aws:///a/i-0\n"
			if test.providerID != "-" {
				nodes += "k8s-redis " + cmp.Or(test.providerID, "aws:///a/i-1") + "\n"
			}
			c.write("nodes-", nodes)
			request := requestOf("k8s-redis", "10.0.0.5")
			if test.change != nil {
				test.change(&request)
			}
			object := request.object(t)
			var lines bytes.Buffer
			require.NoError(t, columns.Execute(&lines, map[string]any{"items": []any{object}}))
			c.write("certificatesigningrequests-", lines.String())

			printed, calls := c.run("approve")
			switch test.objection {
			case "":
				assert.Equal(t, "certificate approve csr-1\n", calls, printed)
				assert.Contains(t, printed, `approving csr-1, the serving certificate of "system:node:k8s-redis"`)
			case "-":
				assert.Empty(t, calls)
				assert.Empty(t, printed)
			default:
				assert.Equal(t, "annotate --overwrite certificatesigningrequest csr-1 eco2.io/not-approved="+test.objection+"\n", calls)
				assert.Contains(t, printed, "is not approved: "+test.objection)
			}
		})
	}
}

// requestOf returns the request that the kubelet of a node sends.
func requestOf(node, address string) signingRequest {
	return signingRequest{
		user: "system:node:" + node, groups: []string{"system:nodes", "system:authenticated"},
		usages:  []string{"digital signature", "server auth"},
		subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		names:   []string{node}, addresses: []string{address},
	}
}
