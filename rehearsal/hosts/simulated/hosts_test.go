package simulated

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/hosts/remote"
	"eco2/rehearsal/internal/setup"
)

// cloud implements Machines with two machines in one network, "master" and "worker".
type cloud struct {
	machines map[string]*Machine
	// closed lists the connections that are not allowed: "<machine> <port> <from>".
	closed map[string]bool
}

func (c *cloud) find(ok func(Machine) bool) (Machine, bool, error) {
	for _, m := range c.machines {
		if ok(*m) {
			return *m, true, nil
		}
	}
	return Machine{}, false, nil
}
func (c *cloud) ByID(id string) (Machine, bool, error) {
	return c.find(func(m Machine) bool { return m.ID == id })
}
func (c *cloud) ByPublicIP(ip string) (Machine, bool, error) {
	return c.find(func(m Machine) bool { return m.PublicIP == ip })
}
func (c *cloud) ByPrivateIP(network, ip string) (Machine, bool, error) {
	return c.find(func(m Machine) bool { return m.Network == network && m.PrivateIP == ip })
}
func (c *cloud) Allows(m Machine, port int, from string) (bool, error) {
	return !c.closed[fmt.Sprintf("%s %d %s", m.Name, port, from)], nil
}

const (
	masterIP, workerIP = "203.0.113.1", "203.0.113.2"
	server             = "https://" + masterIP + ":6443"
)

// world holds the simulated machines of a test.
type world struct {
	*testing.T
	hosts *Hosts
	cloud *cloud
	key   string
	dir   string
}

func newKey(t *testing.T) (private, authorized string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	sshKey, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(sshKey))
}

func newWorld(t *testing.T) *world {
	t.Helper()
	private, authorized := newKey(t)
	c := &cloud{closed: map[string]bool{}, machines: map[string]*Machine{
		"master": {ID: "i-1", Name: "master", Network: "vpc-1", PublicIP: masterIP, PrivateIP: "10.0.0.1", Zone: "z-a", Running: true, AuthorizedKey: authorized, Volumes: []string{"vol-1"}},
		"worker": {ID: "i-2", Name: "worker", Network: "vpc-1", PublicIP: workerIP, PrivateIP: "10.0.0.2", Zone: "z-b", Running: true, AuthorizedKey: authorized},
	}}
	w := &world{T: t, cloud: c, key: private, dir: t.TempDir()}
	var err error
	w.hosts, err = New(w.dir, c)
	require.NoError(t, err)
	return w
}

// result holds the result of a command.
type result struct {
	exit           int
	stdout, stderr string
	err            error
}

func (w *world) session(host, line, stdin string) remote.Session {
	return remote.Session{
		Connection: remote.Connection{Host: host, Port: 22, User: "ubuntu", PrivateKey: w.key, DialErrorLimit: 4, PerDialTimeout: 15},
		Command:    line, Stdin: stdin, Status: func(string) {}, Warn: func(string) {},
	}
}

func (w *world) run(s remote.Session) (r result) {
	w.Helper()
	var out, errs strings.Builder
	s.Stdout, s.Stderr = &out, &errs
	r.exit, r.err = w.hosts.Run(context.Background(), s)
	r.stdout, r.stderr = out.String(), errs.String()
	return r
}

// text returns a script that declares flags as the program's scripts do.
func text(flags string) string {
	declaration := ""
	if flags != "" {
		declaration = "  flags " + flags + ` -- "$@"` + "\n"
	}
	return "set -eu\nmain() {\n" + declaration + "  :\n}\n\nmain \"$@\"; exit\n"
}

// script runs a script. If it takes flags, args alternate between flags and values.
func (w *world) script(host, name, data string, args ...string) result {
	w.Helper()
	var declared []string
	passedOn := false
	quoted := make([]string, len(args))
	for i, arg := range args {
		passedOn = passedOn || arg == "--" // to another script
		if strings.HasPrefix(arg, "--") && name != "crds" && !passedOn {
			declared = append(declared, arg[2:])
		}
		quoted[i] = "'" + arg + "'"
	}
	line := "sudo bash -s -- " + strings.Join(quoted, " ") + " # " + name + ".sh@0a1b2c3d"
	return w.run(w.session(host, line, text(strings.Join(declared, " "))+data))
}

func (w *world) must(r result) result {
	w.Helper()
	require.NoError(w, r.err)
	require.Zero(w, r.exit, r.stderr)
	return r
}

func (w *world) prepare(host, node string) result {
	return w.script(host, "prepare", "", "--node", node, "--kubernetes-version", "1.36.5", "--containerd-version", "2.3.7")
}

const kubeadm = `=== admission.yaml ===
{}
=== audit.yaml ===
{}
=== authentication.yaml ===
{}
=== kubeadm.yaml ===
{"kind": "InitConfiguration", "localAPIEndpoint": {"advertiseAddress": "10.0.0.1"},
 "nodeRegistration": {"kubeletExtraArgs": [{"name": "provider-id", "value": "aws:///z-a/i-1"}]}}
---
{"kind": "ClusterConfiguration", "kubernetesVersion": "v1.36.5"}
=== nodes.yaml ===
{}
`

// init puts the state on the volume and creates the control plane there.
func (w *world) init() result {
	if r := w.state("eco2-dev", "vol-1"); r.exit != 0 {
		return r
	}
	return w.initAs("10.0.0.1", "aws:///z-a/i-1")
}

func (w *world) state(cluster, volume string) result {
	return w.script(masterIP, "state", "", "--cluster", cluster, "--volume", volume)
}

func (w *world) initAs(address, providerID string) result {
	return w.script(masterIP, "init", kubeadm, "--node", "master", "--address", address, "--provider-id", providerID,
		"--labels", "role=control-plane", "--taints", "")
}

// leave removes the worker. States of earlier versions contain no provider ID.
func (w *world) leave(providerID string) result {
	if providerID == "" {
		return w.script(masterIP, "leave", "", "--node", "worker")
	}
	return w.script(masterIP, "leave", "", "--node", "worker", "--provider-id", providerID)
}

func (w *world) join(change map[string]string) result {
	flags := map[string]string{
		"node": "worker", "address": "10.0.0.2", "user": "ubuntu", "endpoint": "10.0.0.1:6443",
		"provider-id": "aws:///z-b/i-2", "labels": "tier=app", "taints": "tier=app:NoSchedule",
	}
	key := w.key
	for name, value := range change {
		if name == "key" {
			key = value
		} else {
			flags[name] = value
		}
	}
	var args []string
	for name, value := range flags {
		args = append(args, "--"+name, value)
	}
	return w.script(masterIP, "join", key, args...)
}

var sum = strings.Repeat("ab", 32)

func (w *world) calico() result {
	return w.script(masterIP, "calico", "=== kustomization.yaml ===\nresources: [calico.yaml]\n=== metadata-service.yaml ===\n{}\n", "--manifest-url", "https://example.com/c.yaml", "--manifest-sha256", sum, "--files-mirror", "")
}

func (w *world) argocd() result {
	return w.script(masterIP, "argocd", "resources: [install.yaml]\n", "--manifest-url", "https://example.com/a.yaml", "--manifest-sha256", sum, "--files-mirror", "")
}

func (w *world) ready(nodes string) result {
	return w.script(masterIP, "ready", "", "--nodes", nodes, "--timeout", "900")
}

// up creates a cluster of both machines.
func (w *world) up() {
	w.Helper()
	for _, r := range []result{w.prepare(masterIP, "master"), w.prepare(workerIP, "worker"), w.init(), w.join(nil), w.calico(), w.ready("master,worker"), w.argocd()} {
		w.must(r)
	}
}

// kubeconfig returns the decrypted output of the script.
func (w *world) kubeconfig() string {
	w.Helper()
	const key = "a key"
	r := w.must(w.script(masterIP, "kubeconfig", key, "--server", server))
	assert.Contains(w, r.stderr, "simulated")
	encrypted, err := base64.StdEncoding.DecodeString(r.stdout)
	require.NoError(w, err)
	// In counter mode encryption is its own inverse; only the header must be skipped.
	const header = len("Salted__") + len("simulate")
	again, err := encrypt(string(encrypted[header:]), key)
	require.NoError(w, err)
	text, err := base64.StdEncoding.DecodeString(again)
	require.NoError(w, err)
	return string(text[header:])
}

func (w *world) connect() (provider.Cluster, error) {
	w.Helper()
	config := w.kubeconfig()
	endpoint, err := provider.ParseKubeconfig(config, "", "")
	require.NoError(w, err)
	return w.hosts.Connect(context.Background(), endpoint)
}

func TestReachingAMachine(t *testing.T) {
	_, otherAuthorized := newKey(t)
	otherKey, _ := newKey(t)
	const refused = "after 4 failed attempts: ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain"
	for name, test := range map[string]struct {
		change func(*world, *remote.Session)
		want   string
	}{
		"it answers":      {func(*world, *remote.Session) {}, ""},
		"no such address": {func(_ *world, s *remote.Session) { s.Connection.Host = "203.0.113.9" }, "after 4 failed attempts: dial tcp 203.0.113.9:22: i/o timeout"},
		"no limit": {func(_ *world, s *remote.Session) {
			s.Connection.Host = "203.0.113.9"
			s.Connection.DialErrorLimit = -1
		}, "i/o timeout (and dialErrorLimit is -1"},
		"a name":             {func(_ *world, s *remote.Session) { s.Connection.Host = "master" }, "no such host"},
		"stopped":            {func(w *world, _ *remote.Session) { w.cloud.machines["master"].Running = false }, "i/o timeout"},
		"closed port":        {func(w *world, _ *remote.Session) { w.cloud.closed["master 22 "+setup.OperatorAddress] = true }, "i/o timeout"},
		"port without sshd":  {func(_ *world, s *remote.Session) { s.Connection.Port = 80 }, "connection refused"},
		"another key":        {func(_ *world, s *remote.Session) { s.Connection.PrivateKey = otherKey }, refused},
		"another key pair":   {func(w *world, _ *remote.Session) { w.cloud.machines["master"].AuthorizedKey = otherAuthorized }, refused},
		"no key pair":        {func(w *world, _ *remote.Session) { w.cloud.machines["master"].AuthorizedKey = "" }, refused},
		"root":               {func(_ *world, s *remote.Session) { s.Connection.User = "root" }, refused},
		"a password":         {func(_ *world, s *remote.Session) { s.Connection.PrivateKey, s.Connection.Password = "", "p" }, "attempted methods [none], "},
		"a variable":         {func(_ *world, s *remote.Session) { s.Environment = []remote.Variable{{Name: "A"}} }, "setting environment variable A"},
		"a variable of sshd": {func(_ *world, s *remote.Session) { s.Environment = []remote.Variable{{Name: "LC_A"}} }, ""},
		"last output":        {func(_ *world, s *remote.Session) { s.Environment = []remote.Variable{{Name: "A", Optional: true}} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.session(masterIP, "sudo bash -s -- --node n --kubernetes-version 1 # prepare.sh@00", text("node kubernetes-version"))
			test.change(w, &s)
			r := w.run(s)
			if test.want == "" {
				w.must(r)
				return
			}
			require.ErrorContains(t, r.err, test.want)
			assert.NotContains(t, r.err.Error(), "PRIVATE KEY")
		})
	}
}

func TestInvocations(t *testing.T) {
	const prepare = "sudo bash -s -- --node n # prepare.sh@00"
	for name, test := range map[string]struct {
		line, stdin string
		exit        int
		want        string
	}{
		"fine":              {prepare, text("node"), 0, ""},
		"data is no script": {prepare, text("node") + "((( 'not bash", 0, ""},
		"quoted":            {`sudo bash -s -- --node 'it'\''s' # prepare.sh@00`, text("node"), 0, ""},
		"unquoted":          {`sudo bash -s -- --node $(id) # prepare.sh@00`, text("node"), 2, "not quoted"},
		"unknown script":    {"sudo bash -s -- # reboot.sh@00", text(""), 127, "reboot.sh: the simulated host does not know this script"},
		"no script":         {"uptime", "", 127, "runs only the program's scripts"},
		"syntax error":      {prepare, "if true\n" + text("node"), 2, "syntax error"},
		"no end":            {prepare, "true\n", 2, "contains no script"},
		"missing flag":      {prepare, text("node user"), 1, "missing flags: user"},
		"unexpected flag":   {"sudo bash -s -- --nodes n # prepare.sh@00", text("node"), 1, "unexpected argument --nodes; still expected: node"},
		"missing value":     {"sudo bash -s -- --node # prepare.sh@00", text("node"), 1, "--node needs a value"},
		"optional flag":     {prepare, "given() {\n  local node provider_id=''\n}\n" + text("node provider-id"), 0, ""},
		"flag given twice":  {"sudo bash -s -- --node a --node b # prepare.sh@00", text("node"), 1, "unexpected argument --node"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.run(w.session(masterIP, test.line, test.stdin))
			require.NoError(t, r.err)
			assert.Equal(t, test.exit, r.exit, r.stderr)
			assert.Contains(t, r.stderr, test.want)
		})
	}
}

func TestOutOfOrder(t *testing.T) {
	for name, test := range map[string]struct {
		before func(*world)
		run    func(*world) result
		want   string
	}{
		"init before prepare": {nil, (*world).init, "prepare.sh must run"},
		"join before init":    {func(w *world) { w.must(w.prepare(workerIP, "worker")) }, func(w *world) result { return w.join(nil) }, "no /etc/kubernetes/admin.conf"},
		"join before prepare": {func(w *world) { w.must(w.prepare(masterIP, "master")); w.must(w.init()) },
			func(w *world) result { return w.join(nil) }, "prepare.sh must run"},
		"kubeconfig before init": {nil, func(w *world) result { return w.script(masterIP, "kubeconfig", "", "--server", server) }, "no /etc/kubernetes/admin.conf"},
		"sweep before init":      {nil, func(w *world) result { return w.sweep("60") }, "is not a control plane"},
		"ready before calico": {func(w *world) { w.must(w.prepare(masterIP, "master")); w.must(w.init()) },
			func(w *world) result { return w.ready("master,worker") }, "still waits for master, worker"},
		"argocd before calico": {func(w *world) { w.must(w.prepare(masterIP, "master")); w.must(w.init()) }, (*world).argocd, "no node is Ready"},
		"ready without one":    {(*world).up, func(w *world) result { return w.ready("master,worker,third") }, "still waits for third;"},
		"unknown bundle":       {(*world).up, func(w *world) result { return w.script(masterIP, "crds", "", "knative", "https://x.example", sum) }, `"knative"`},
		"crds without sum":     {(*world).up, func(w *world) result { return w.script(masterIP, "crds", "", "external-secrets", "https://x.example") }, "need a checksum"},
		"no such secret": {(*world).up, func(w *world) result {
			return w.script(masterIP, "secret", "", "--namespace", "monitoring", "--name", "grafana-admin", "--version", "2")
		}, "secret monitoring/grafana-admin does not get version 2 of its parameter"},
		"init elsewhere": {func(w *world) { w.must(w.prepare(masterIP, "master")) }, func(w *world) result {
			return w.script(masterIP, "init", strings.ReplaceAll(kubeadm, "i-1", "i-9"), "--node", "master", "--labels", "", "--taints", "")
		}, `sets provider-id "aws:///z-a/i-9"`},
		"init for another machine": {func(w *world) { w.must(w.prepare(masterIP, "master")) }, func(w *world) result {
			return w.initAs("10.0.0.1", "aws:///z-a/i-9")
		}, "--provider-id aws:///z-a/i-9, but this machine is 10.0.0.1, aws:///z-a/i-1"},
		"init at another address": {func(w *world) { w.must(w.prepare(masterIP, "master")) }, func(w *world) result {
			return w.initAs("10.0.0.9", "aws:///z-a/i-1")
		}, "--address is 10.0.0.9"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.before != nil {
				test.before(w)
			}
			r := test.run(w)
			require.NoError(t, r.err)
			assert.Equal(t, 1, r.exit)
			assert.Contains(t, r.stderr, test.want)
			assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "one sentence")
		})
	}
}

func TestJoinReachesTheWorker(t *testing.T) {
	otherKey, _ := newKey(t)
	for name, test := range map[string]struct {
		flags map[string]string
		world func(*world)
		want  string
	}{
		"another key":         {flags: map[string]string{"key": otherKey}, want: "Permission denied (publickey)"},
		"no key":              {flags: map[string]string{"key": ""}, want: "holds no private SSH key"},
		"another user":        {flags: map[string]string{"user": "root"}, want: "cannot log in to worker as root"},
		"no such address":     {flags: map[string]string{"address": "10.0.0.9"}, want: "Connection timed out"},
		"another network":     {world: func(w *world) { w.cloud.machines["worker"].Network = "vpc-2" }, want: "Connection timed out"},
		"stopped":             {world: func(w *world) { w.cloud.machines["worker"].Running = false }, want: "Connection timed out"},
		"ssh is closed":       {world: func(w *world) { w.cloud.closed["worker 22 10.0.0.1"] = true }, want: "Connection timed out"},
		"the API is closed":   {world: func(w *world) { w.cloud.closed["master 6443 10.0.0.2"] = true }, want: "could not join and was reset"},
		"another endpoint":    {flags: map[string]string{"endpoint": "10.0.0.7:6443"}, want: "no API server answers at 10.0.0.7:6443"},
		"another provider id": {flags: map[string]string{"provider-id": "aws:///z-b/i-1"}, want: "is aws:///z-b/i-2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, r := range []result{w.prepare(masterIP, "master"), w.prepare(workerIP, "worker"), w.init()} {
				w.must(r)
			}
			if test.world != nil {
				test.world(w)
			}
			r := w.join(test.flags)
			require.NoError(t, r.err)
			assert.Equal(t, 1, r.exit)
			assert.Contains(t, r.stderr, test.want)
			assert.NotContains(t, r.stderr, "PRIVATE KEY")
		})
	}
}

func TestClusterComesUp(t *testing.T) {
	w := newWorld(t)
	w.up()
	running, err := w.hosts.Clusters()
	require.NoError(t, err)
	require.Len(t, running, 1)
	nodes, err := running[0].Cluster.Nodes()
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	assert.Equal(t, []string{"node-role.kubernetes.io/control-plane:NoSchedule"}, nodes[0].Taints)
	worker := nodes[1]
	assert.Equal(t, "aws:///z-b/i-2", worker.ProviderID)
	assert.Equal(t, map[string]string{"tier": "app"}, worker.Labels)
	assert.Equal(t, []string{"tier=app:NoSchedule"}, worker.Taints)
	assert.True(t, worker.Ready)

	t.Run("again changes labels and nothing else", func(t *testing.T) {
		assert.Contains(t, w.must(w.init()).stdout, "was created before")
		assert.Contains(t, w.must(w.join(map[string]string{"labels": "tier=data"})).stdout, "is in the cluster already")
		nodes, err := running[0].Cluster.Nodes()
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"tier": "data"}, nodes[1].Labels)
	})
	t.Run("a replaced machine joins anew", func(t *testing.T) {
		w.cloud.machines["worker"].ID = "i-3"
		w.must(w.prepare(workerIP, "worker"))
		assert.Contains(t, w.must(w.join(map[string]string{"provider-id": "aws:///z-b/i-3"})).stdout, "has joined")
	})
	t.Run("leave", func(t *testing.T) {
		for _, before := range []string{"aws:///z-b/i-2", ""} {
			assert.Contains(t, w.must(w.leave(before)).stdout, "worker stays in the cluster: it is the machine aws:///z-b/i-3 now")
		}
		assert.Contains(t, w.must(w.leave("aws:///z-b/i-3")).stdout, "has left")
		assert.Contains(t, w.must(w.leave("aws:///z-b/i-3")).stdout, "is not in the cluster")
		nodes, err := running[0].Cluster.Nodes()
		require.NoError(t, err)
		assert.Len(t, nodes, 1)
	})
}

// A node that was joined by an earlier version, which recorded nothing, leaves with the command in that version's
// state.
func TestANodeOfAnOlderProgramLeaves(t *testing.T) {
	w := newWorld(t)
	w.up()
	_, err := w.hosts.change("i-1", func(st *state) { st.Recorded = nil })
	require.NoError(t, err)
	w.must(w.join(nil)) // by the current version, which finds it in the cluster
	assert.Contains(t, w.must(w.leave("")).stdout, "has left")
	st, err := w.hosts.state("i-1")
	require.NoError(t, err)
	assert.NotContains(t, st.Recorded, "worker")
}

func TestOutputIsMarkedAsSimulated(t *testing.T) {
	w := newWorld(t)
	w.up()
	for name, r := range map[string]result{
		"ready": w.ready("master,worker"), "argocd": w.argocd(),
		"crds": w.script(masterIP, "crds", "", "external-secrets", "--files-mirror", "", "https://x.example", sum),
	} {
		for _, line := range strings.Split(strings.TrimSpace(w.must(r).stdout), "\n") {
			assert.True(t, strings.HasPrefix(line, "[simulated host master] "), "%s: %s", name, line)
		}
	}
	first := w.kubeconfig()
	assert.True(t, strings.HasPrefix(first, "apiVersion: v1\n"), "only the kubeconfig")
	assert.Equal(t, first, w.kubeconfig(), "stable")
}

func TestConnect(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*world)
		want   string
	}{
		"it answers":         {func(*world) {}, ""},
		"terminated":         {func(w *world) { delete(w.cloud.machines, "master") }, "i/o timeout"},
		"stopped":            {func(w *world) { w.cloud.machines["master"].Running = false }, "i/o timeout"},
		"closed port":        {func(w *world) { w.cloud.closed["master 6443 "+setup.OperatorAddress] = true }, "i/o timeout"},
		"a machine replaced": {func(w *world) { w.cloud.machines["master"].ID = "i-4" }, "connection refused"},
		"a new cluster": {func(w *world) {
			w.cloud.machines["master"].ID = "i-1" // the same machine without its state
			require.NoError(w, os.Remove(filepath.Join(w.dir, File)))
			w.must(w.prepare(masterIP, "master"))
			w.must(w.init())
		}, "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.up()
			config := w.kubeconfig()
			test.change(w)
			endpoint, err := provider.ParseKubeconfig(config, "", "")
			require.NoError(t, err)
			_, err = w.hosts.Connect(context.Background(), endpoint)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	t.Run("no number", func(t *testing.T) {
		t.Setenv(setup.LatencyEnv, "-1")
		_, err := New(t.TempDir(), &cloud{})
		require.ErrorContains(t, err, setup.LatencyEnv)
	})
	t.Run("latency", func(t *testing.T) {
		t.Setenv(setup.LatencyEnv, "0.001")
		w := newWorld(t)
		start := time.Now()
		w.must(w.prepare(masterIP, "master"))
		assert.GreaterOrEqual(t, time.Since(start), Durations["prepare"]/1000)
	})
	t.Run("latency stops with its context", func(t *testing.T) {
		t.Setenv(setup.LatencyEnv, "1")
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, err := w.hosts.Run(ctx, w.session(masterIP, "sudo bash -s -- --node n # prepare.sh@00", text("node")))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	for script := range effects {
		if script != "sweep" && script != "records" && script != "relay" { // which are executed and take as long as that takes
			assert.Positive(t, Durations[script], script)
		}
	}
}

// An installed script runs only if it has the hash that the program expects.
func TestInstalledScripts(t *testing.T) {
	w := newWorld(t)
	const library = "# the library\n"
	old, changed := library+text(""), library+text("")+"\n"
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:4])
	}
	run := func(script, hash string) result {
		return w.run(w.session(masterIP, "sudo bash /usr/local/lib/eco2/"+script+".sh --node n # "+script+".sh@"+hash, "data"))
	}
	r := run("ready", hash(old))
	assert.Equal(t, 127, r.exit)
	assert.Contains(t, r.stderr, "/usr/local/lib/eco2/ready.sh: No such file or directory")

	assert.Contains(t, w.script(masterIP, "install", "=== ready.sh ===\n"+text("")).stderr, "no library")
	w.must(w.script(masterIP, "install", "=== lib.sh ===\n"+library+"=== ready.sh ===\n"+text("")+"=== leave.sh ===\n"+text("")))
	assert.Contains(t, run("ready", hash(old)).stderr, "admin.conf", "it runs, and there is no cluster")
	assert.Contains(t, run("ready", hash(changed)).stderr, "install.sh did not run first")
	assert.Contains(t, run("leave", hash(changed)).stderr, "admin.conf", "a delete command may be of an earlier version")
}

// relay runs the installed script on a worker that accepts the control plane's connection.
func TestRelayedScripts(t *testing.T) {
	w := newWorld(t)
	relay, prepare := text("node address user provider-id script"), text("node kubernetes-version")
	relay = strings.ReplaceAll(relay, `"$@"`+"\n  :", `"${own[@]}"`+"\n  :")
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:4])
	}
	w.must(w.script(masterIP, "install", "=== lib.sh ===\n=== relay.sh ===\n"+relay+"=== prepare.sh ===\n"+prepare))
	run := func(change func(line string) string, key string) result {
		line := "sudo bash /usr/local/lib/eco2/relay.sh --node worker --address 10.0.0.2 --user ubuntu --provider-id aws:///z-b/i-2 --script prepare" +
			" -- --node worker --kubernetes-version 1.36.5 # relay.sh@" + hash(relay) + " prepare.sh@" + hash(prepare) + " on i-1"
		return w.run(w.session(masterIP, change(line), key))
	}
	for old, test := range map[string]struct{ by, want string }{
		"prepare.sh@" + hash(prepare):  {"prepare.sh@0a1b2c3d", "the installed prepare.sh is not the one that the program expects"},
		" on i-1":                      {" on i-9", "the command is for machine i-9, but this is i-1"},
		"10.0.0.2":                     {"10.0.0.9", "cannot log in to worker as ubuntu over SSH at 10.0.0.9"},
		"z-b/i-2":                      {"z-b/i-3", "--provider-id is aws:///z-b/i-3, but the machine at 10.0.0.2 is aws:///z-b/i-2"},
		"--script prepare":             {"--script other", "/usr/local/lib/eco2/other.sh: No such file or directory"},
		" --kubernetes-version 1.36.5": {"", "missing flags: kubernetes-version"},
		"--address 10.0.0.2":           {"", "missing flags: address"},
	} {
		assert.Contains(t, run(func(line string) string { return strings.Replace(line, old, test.by, 1) }, w.key).stderr, test.want)
	}
	same := func(line string) string { return line }
	assert.Contains(t, run(same, "").stderr, "standard input holds no private SSH key")
	assert.Contains(t, w.must(run(same, w.key)).stdout, "[simulated host worker] prepared with Kubernetes 1.36.5")
	w.must(w.prepare(masterIP, "master"))
	w.must(w.init())
	w.must(w.join(nil))
}

// TestEffectsMatchTheProgramsScripts compares the simulated scripts with those of the program.
func TestEffectsMatchTheProgramsScripts(t *testing.T) {
	const folder = "../../../cluster/scripts"
	lib, err := os.ReadFile(filepath.Join(folder, "lib.sh"))
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(folder, "*.sh"))
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".sh")
		switch name {
		case "lib", "approve", "mount", "certificates", "upgrade-control-plane": // the library, and what units and other scripts run
			continue
		}
		seen[name] = true
		content, err := os.ReadFile(file) //nolint:gosec // this repository's
		require.NoError(t, err)
		w := newWorld(t)
		run, err := parse(w.session(masterIP, "sudo bash -s -- # "+name+".sh@00", string(lib)+string(content)+"data"), "", nil)
		assert.Equal(t, "data", run.data, name)
		if err != nil { // because it was run without flags
			assert.Contains(t, err.Error(), "error: missing flags: ", name)
		}
	}
	leave, err := os.ReadFile(filepath.Join(folder, "leave.sh"))
	require.NoError(t, err)
	w := newWorld(t)
	_, err = parse(w.session(masterIP, "sudo bash -s -- --node n # leave.sh@00", string(lib)+string(leave)), "", nil)
	require.NoError(t, err, "as in states of earlier versions")
	for name := range effects {
		assert.True(t, seen[name], "%s.sh is simulated but does not exist", name)
	}
}
