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
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// controlPlane runs scripts with a stand-in for kubectl, and with its directories below one of the test's.
type controlPlane struct {
	*testing.T
	dir string
}

// newControlPlane answers `kubectl get ARG…` with the first of the files whose name begins ARG…, and notes all that is
// no get.
func newControlPlane(t *testing.T) controlPlane {
	t.Helper()
	c := controlPlane{t, t.TempDir()}
	c.command("kubectl", `[[ $* != "get --raw=/readyz" ]] || exit 0
[[ $1 == get ]] || { echo "$*" >>"`+c.dir+`/calls"; exit 0; }
cat "`+c.dir+`/$2-$([[ $2 == node ]] && echo "$3")" 2>/dev/null || true
`)
	return c
}

func (c controlPlane) write(name, content string) {
	c.Helper()
	path := filepath.Join(c.dir, name)
	require.NoError(c, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(c, os.WriteFile(path, []byte(content), 0o600))
}

func (c controlPlane) read(name string) string {
	c.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(c, err)
	return string(data)
}

// run returns what the script said and the calls that it made to change something.
func (c controlPlane) run(script string, args ...string) (said, calls string) {
	c.Helper()
	said, err := c.try(script, "", args...)
	require.NoError(c, err, said)
	return said, c.read("calls")
}

// try runs a script with its data, and returns what it said.
func (c controlPlane) try(script, data string, args ...string) (said string, err error) {
	c.Helper()
	require.NoError(c, os.RemoveAll(filepath.Join(c.dir, "calls")))
	text, err := Script{Name: script}.text()
	require.NoError(c, err)
	for path, own := range map[string]string{
		"/run/eco2.": c.dir + "/scratch.", "/run/lock/": c.dir + "/lock-",
		"NODES=/etc/eco2/nodes":                   "NODES=" + c.dir + "/nodes",
		"SCRIPTS=/usr/local/lib/eco2":             "SCRIPTS=" + c.dir + "/scripts",
		"KNOWN_HOSTS=/root/.ssh/eco2_known_hosts": "KNOWN_HOSTS=" + c.dir + "/ssh/known_hosts",
	} {
		require.Contains(c, text, path)
		text = strings.ReplaceAll(text, path, own)
	}
	text = strings.ReplaceAll(text, "REACH_LIMIT=180", "REACH_LIMIT=0") // nobody comes later
	cmd := exec.CommandContext(c.Context(), "bash", append([]string{"-s", "--"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
	cmd.Stdin = strings.NewReader(text + data)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func (c controlPlane) command(name, text string) {
	c.Helper()
	c.write("bin/"+name, "#!/bin/bash\n"+text)
	require.NoError(c, os.Chmod(filepath.Join(c.dir, "bin", name), 0o755))
}

// What install.sh writes, the library and the script, is what the program takes the hash of. A second run takes away
// what the program no longer has.
func TestInstall(t *testing.T) {
	c := newControlPlane(t)
	c.write("scripts/gone.sh", "of an older program")
	all, err := installed()
	require.NoError(t, err)
	said, err := c.try("install", all)
	require.NoError(t, err, said)
	found, err := os.ReadDir(filepath.Join(c.dir, "scripts"))
	require.NoError(t, err)
	sources, err := files.ReadDir("scripts")
	require.NoError(t, err)
	assert.Len(t, found, len(sources)-2, "all but the library, and what installs them")
	for _, file := range found {
		want, err := Script{Name: strings.TrimSuffix(file.Name(), ".sh")}.text()
		require.NoError(t, err)
		assert.Equal(t, want, c.read("scripts/"+file.Name()), file.Name())
		assert.True(t, strings.HasSuffix(want, "main \"$@\"; exit\n"), "%s: bash would take its data for commands", file.Name())
	}
}

// A script that is relayed runs on the worker with its arguments as they are, and its failure is the relay's.
func TestRelay(t *testing.T) {
	const key = "\n-----BEGIN KEY-----\nsecret\n"
	relay := []string{
		"--node", "k8s-redis", "--address", "10.0.0.5", "--user", "ubuntu", "--provider-id", "aws:///a/i-1", "--script", "there", "--",
	}
	worker := func(t *testing.T) controlPlane {
		c := newControlPlane(t)
		c.command("ssh-agent", `echo 'SSH_AGENT_PID=1;'; [[ $1 != -k ]] || echo stopped >>"`+c.dir+`/agent"`)
		c.command("ssh-add", `cat >"`+c.dir+`/key"; grep --quiet BEGIN "`+c.dir+`/key"`)
		c.command("sudo", `exec "${@:2}"`)
		// As ssh: options, then the machine, then words for a shell there.
		c.command("ssh", `while [[ $1 == -o ]]; do echo "$2" >>"`+c.dir+`/options"; shift 2; done
[[ $1 == ubuntu@10.0.0.5 ]] || { echo 'Permission denied' >&2; exit 255; }
[[ ! -e "`+c.dir+`/cut" || $* == *"bash -s --" ]] || exit 255
exec bash -c "${*:2}"`)
		c.command("sleep", "")
		c.write("scripts/there.sh", `printf '<%s>' "$@"; exit "${#2}"`)
		return c
	}
	t.Run("with its arguments", func(t *testing.T) {
		c := worker(t)
		said, err := c.try("relay", key, append(relay, "a b", "", "it's", `$HOME"`, "--node", "x")...)
		require.NoError(t, err, said)
		assert.Contains(t, said, `<a b><><it's><$HOME"><--node><x>`)
		assert.Equal(t, "-----BEGIN KEY-----\nsecret\n", c.read("key"))
		assert.Equal(t, "stopped\n", c.read("agent"))
		assert.Contains(t, c.read("options"), "HostKeyAlias=i-1\n")
		assert.Contains(t, c.read("options"), "UserKnownHostsFile="+c.dir+"/ssh/known_hosts/k8s-redis\n")
		assert.NotContains(t, said, "secret")
	})
	t.Run("with its failure", func(t *testing.T) {
		c := worker(t)
		said, err := c.try("relay", key, append(relay, "a", "three")...)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, said)
		assert.Equal(t, len("three"), exit.ExitCode())
		assert.Equal(t, "stopped\n", c.read("agent"))
	})
	for name, test := range map[string]struct {
		change func(controlPlane)
		args   []string
		data   string
		says   string
	}{
		"the connection breaks":  {change: func(c controlPlane) { c.write("cut", "") }, args: append(relay, "a"), data: key, says: "error: the connection to k8s-redis broke while there ran there"},
		"there is no key":        {args: append(relay, "a"), data: "no key", says: "error: standard input holds no private SSH key"},
		"there are no arguments": {args: relay[:len(relay)-1], data: key, says: "error: the arguments of the script have to follow behind --"},
		"the machine refuses": {change: func(c controlPlane) { c.command("ssh", "echo 'Permission denied' >&2; exit 255") }, args: append(relay, "a"), data: key,
			says: "error: k8s-redis does not let ubuntu in over SSH at 10.0.0.5: Permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			c := worker(t)
			if test.change != nil {
				test.change(c)
			}
			said, err := c.try("relay", test.data, test.args...)
			require.Error(t, err)
			assert.Contains(t, said, test.says)
		})
	}
}

// A machine that AWS took away leaves when its successor has its name.
func TestLeaveIsForOneMachine(t *testing.T) {
	const first, second = "aws:///a/i-1", "aws:///a/i-2"
	for name, test := range map[string]struct {
		node, record, leaving string
		ready                 string
		leaves                bool
		says, recordAfter     string
	}{
		"the machine":                                                    {node: first, record: first + " joined", leaving: first, leaves: true, says: "has left"},
		"the machine, which does not answer":                             {node: first, ready: "Unknown", leaving: first, leaves: true, says: "does not answer"},
		"the machine, not recorded":                                      {node: first, leaving: first, leaves: true, says: "has left"},
		"its successor is the node":                                      {node: second, record: second + " joined", leaving: first, says: "stays in the cluster: it is the machine " + second, recordAfter: second + " joined"},
		"its successor is the node, unrecorded":                          {node: second, leaving: first, says: "stays in the cluster"},
		"nobody is the node":                                             {record: first + " joined", leaving: first, says: "is not in the cluster"},
		"its successor is yet to be the node":                            {record: second + " joined", leaving: first, says: "is not in the cluster", recordAfter: second + " joined"},
		"an older state":                                                 {node: first, leaves: true, says: "has left"},
		"an older state, joined since by its scripts' successor":         {node: second, record: second + " joined", says: "an earlier one was to leave", recordAfter: second + " joined"},
		"an older state, and a newer program has found the node":         {node: first, record: first + " found", leaves: true, says: "has left"},
		"an older state, whose machine somebody joined again by himself": {node: second, record: first + " joined", leaves: true, says: "has left", recordAfter: first + " joined"},
		"an older state, and nobody is the node":                         {record: first + " joined", says: "is not in the cluster", recordAfter: first + " joined"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newControlPlane(t)
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
			said, calls := c.run("leave", args...)
			assert.Contains(t, said, test.says)
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

// signingRequest is what a kubelet sends, or somebody in its name.
type signingRequest struct {
	user                string
	groups, usages      []string
	subject             pkix.Name
	names               []string
	addresses           []string
	emails, uris        []string
	before, after, said string
	decided             bool
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
	if r.said != "" {
		object["metadata"].(map[string]any)["annotations"] = map[string]any{"eco2.io/not-approved": r.said}
	}
	if r.decided {
		object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Denied"}}}
	}
	return object
}

// list is as JSON gives it.
func list(texts []string) (all []any) {
	for _, text := range texts {
		all = append(all, text)
	}
	return all
}

func TestCertificatesAreApprovedForTheirNodesAlone(t *testing.T) {
	script, err := Script{Name: "approve"}.text()
	require.NoError(t, err)
	source := regexp.MustCompile(`go-template='(.*)'`).FindStringSubmatch(script)
	require.NotNil(t, source)
	columns, err := template.New("").Parse(source[1])
	require.NoError(t, err)

	for name, test := range map[string]struct {
		change func(*signingRequest)
		// providerID is the Node's; "-" where there is no Node.
		providerID string
		// objection is why it is not approved; "-" where nothing is said.
		objection string
	}{
		"what a kubelet asks for":                 {},
		"with a key of another kind":              {change: func(r *signingRequest) { r.usages = []string{"digital signature", "key encipherment", "server auth"} }},
		"which somebody has objected to before":   {change: func(r *signingRequest) { r.said = "the program has no such node" }},
		"which somebody has denied":               {change: func(r *signingRequest) { r.decided = true }, objection: "-"},
		"whose Node is another machine":           {providerID: "aws:///a/i-9", objection: "the node's provider ID is not that of its machine"},
		"whose Node is not there":                 {providerID: "-", objection: "the node's provider ID is not that of its machine"},
		"of a node that is not the program's":     {change: func(r *signingRequest) { *r = requestOf("k8s-other", "10.0.0.5") }, objection: "the program has no such node"},
		"of a node whose name is a path":          {change: func(r *signingRequest) { *r = requestOf("..", "10.0.0.5") }, objection: "the program has no such node"},
		"made by a person":                        {change: func(r *signingRequest) { r.user = "kubernetes-admin" }, objection: "no node made it"},
		"made by somebody who is no node":         {change: func(r *signingRequest) { r.groups = []string{"system:authenticated"} }, objection: "no node made it"},
		"made by somebody whose name ends fields": {change: func(r *signingRequest) { r.user = "system:node:k8s-redis\"\t[\"system:nodes\"" }, objection: "no node made it"},
		"made by somebody whose name ends lines":  {change: func(r *signingRequest) { r.user = "a\ncsr-2\t\"system:node:k8s-redis\"" }, objection: "no node made it"},
		"for another node's name":                 {change: func(r *signingRequest) { r.names = []string{"k8s-master"} }, objection: "it does not ask for the node's name and address"},
		"for another node's name too":             {change: func(r *signingRequest) { r.names = append(r.names, "k8s-master") }, objection: "it does not ask for the node's name and address"},
		"for another node's name, behind a line end": {change: func(r *signingRequest) {
			r.names = []string{"k8s-redis, IP Address:10.0.0.5\n", "k8s-master"}
			r.addresses = nil
		}, objection: "it does not ask for the node's name and address"},
		"for another node's address":     {change: func(r *signingRequest) { r.addresses = []string{"10.0.0.4"} }, objection: "it does not ask for the node's name and address"},
		"for another node's address too": {change: func(r *signingRequest) { r.addresses = append(r.addresses, "10.0.0.4") }, objection: "it does not ask for the node's name and address"},
		"for an address that begins so":  {change: func(r *signingRequest) { r.addresses = []string{"10.0.0.50"} }, objection: "it does not ask for the node's name and address"},
		"for no name and no address":     {change: func(r *signingRequest) { r.names, r.addresses = nil, nil }, objection: "it does not ask for the node's name and address"},
		"for a mail address too":         {change: func(r *signingRequest) { r.emails = []string{"a@b.example"} }, objection: "it does not ask for the node's name and address"},
		"for a URI too":                  {change: func(r *signingRequest) { r.uris = []string{"https://k8s-master"} }, objection: "it does not ask for the node's name and address"},
		"with another node's subject":    {change: func(r *signingRequest) { r.subject.CommonName = "system:node:k8s-master" }, objection: "its subject is not that of the node"},
		"with an administrator's subject": {change: func(r *signingRequest) { r.subject.Organization = []string{"system:masters"} },
			objection: "its subject is not that of the node"},
		"with a subject of two groups": {change: func(r *signingRequest) { r.subject.Organization = []string{"system:masters", "system:nodes"} },
			objection: "its subject is not that of the node"},
		"for a client": {change: func(r *signingRequest) { r.usages = []string{"digital signature", "client auth"} },
			objection: "its usages are not those of a serving certificate"},
		"for a client too": {change: func(r *signingRequest) { r.usages = append(r.usages, "client auth") },
			objection: "its usages are not those of a serving certificate"},
		"behind another":               {change: func(r *signingRequest) { r.before = "-----BEGIN CERTIFICATE REQUEST-----\n-----END\n" }, objection: "it is not one request"},
		"before another":               {change: func(r *signingRequest) { r.after = "-----BEGIN CERTIFICATE REQUEST-----\n" }, objection: "it is not one request"},
		"that was objected to":         {change: func(r *signingRequest) { r.user, r.said = "kubernetes-admin", "no node made it" }, objection: "-"},
		"that was, for another reason": {change: func(r *signingRequest) { r.user, r.said = "kubernetes-admin", "something else" }, objection: "no node made it"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newControlPlane(t)
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

			said, calls := c.run("approve")
			switch test.objection {
			case "":
				assert.Equal(t, "certificate approve csr-1\n", calls, said)
				assert.Contains(t, said, `approving csr-1, the serving certificate of "system:node:k8s-redis"`)
			case "-":
				assert.Empty(t, calls)
				assert.Empty(t, said)
			default:
				assert.Equal(t, "annotate --overwrite certificatesigningrequest csr-1 eco2.io/not-approved="+test.objection+"\n", calls)
				assert.Contains(t, said, "is not approved: "+test.objection)
			}
		})
	}
}

// requestOf is what the kubelet of a node asks for.
func requestOf(node, address string) signingRequest {
	return signingRequest{
		user: "system:node:" + node, groups: []string{"system:nodes", "system:authenticated"},
		usages:  []string{"digital signature", "server auth"},
		subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		names:   []string{node}, addresses: []string{address},
	}
}
