package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// init.sh must remove what an unfinished init has left, and must never reset a control plane that was completed: its
// etcd is the cluster.
func TestControlPlaneIsCreatedOnce(t *testing.T) {
	const (
		created = "config validate\nconfig images pull\ninit --skip-phases=show-join-command --skip-token-print\n"
		refused = "the control plane on k8s-master was created before, and its API does not answer"
		running = "etc/kubernetes/manifests/kube-apiserver.yaml"
	)
	for name, test := range map[string]struct {
		exists []string
		madeOn string // the machine that began to create what is on the volume
		calls  string // of kubeadm, without --config
		fails  string
	}{
		"a new machine": {calls: created},
		"an init that ended during the first steps":    {exists: []string{"etc/kubernetes/admin.conf", "etc/cni/net.d/old"}, calls: "reset --force\n" + created},
		"an init that ended while etcd started":        {exists: []string{"var/lib/etcd/member/wal", "etc/cni/net.d/old"}, madeOn: "aws:///a/i-0", calls: "reset --force\n" + created},
		"one that another machine did not finish":      {exists: []string{"var/lib/etcd/member/wal"}, madeOn: "aws:///a/i-9", fails: "the volume has half a control plane, whose creation the machine aws:///a/i-9 began and did not finish; nothing on it was changed"},
		"the keys of one that nobody finished":         {exists: []string{"etc/kubernetes/pki/ca.key"}, fails: "whose creation the machine unknown began"},
		"a control plane that was completed":           {exists: []string{"etc/kubernetes/pki/.initialized", running}},
		"a control plane that somebody made by hand":   {exists: []string{"addons", "etc/kubernetes/pki/ca.crt", running}},
		"a completed control plane that is down":       {exists: []string{"etc/kubernetes/pki/.initialized", running, "down"}, fails: refused},
		"a completed control plane whose disk is full": {exists: []string{"etc/kubernetes/pki/.initialized", running, "full"}, fails: "the volume with the state of the cluster is full: 12 MiB are free"},
		"an API server that does not become ready":     {exists: []string{"down"}, calls: created, fails: "the API server on k8s-master does not become ready"},
		"a control plane of an older kubeadm, half up": {exists: []string{"etc/kubernetes/manifests/etcd.yaml"}, calls: "reset --force\n" + created},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			c.command("kubectl", `cd "`+c.dir+`"
case "$*" in
"get --raw=/readyz") [[ ! -e down ]];;
*"get deployment/coredns daemonset/kube-proxy") [[ -e addons ]];;
*patch-file*) cat >patch;;
apply*) cp "${!#}" applied;;
esac`)
			c.command("kubeadm", `cd "`+c.dir+`/etc/kubernetes"
echo "$*" | sed 's| --config [^ ]*||' >>../../kubeadm
[[ $1 != init ]] || { mkdir -p pki; touch super-admin.conf; }`)
			c.command("systemctl", "")
			c.command("df", `echo Avail; [[ ! -e "`+c.dir+`/full" ]] && echo 9000 || echo 12`)
			c.write("scripts/upgrade-control-plane.sh", `echo "upgrade-control-plane $*" >>"`+c.dir+`/upgraded"`)
			c.write("etc/kubernetes/kubelet.env", "")
			for _, file := range test.exists {
				c.write(file, "")
			}
			c.write("var/lib/eco2/cluster", "eco2-dev")
			if test.madeOn != "" {
				c.write("var/lib/eco2/made-on", test.madeOn)
			}
			files, err := controlPlaneFiles("the configuration\n")
			require.NoError(t, err)
			printed, err := c.try("init", files, "--node", "k8s-master", "--address", "10.0.0.4",
				"--provider-id", "aws:///a/i-0", "--labels", "a=b", "--taints", "", "--", "--node", "k8s-master")
			assert.Equal(t, test.calls, c.read("kubeadm"), printed)
			if test.fails != "" {
				require.Error(t, err)
				assert.Contains(t, printed, test.fails)
				return
			}
			require.NoError(t, err, printed)
			if test.calls == "" {
				assert.Regexp(t, `^upgrade-control-plane --node k8s-master --files \S+/files -- --node k8s-master\n$`, c.read("upgraded"))
			} else {
				assert.Contains(t, c.read("etc/kubernetes/api-server/audit.yaml"), "level: Metadata")
				assert.Equal(t, "aws:///a/i-0\n", c.read("var/lib/eco2/made-on"))
				assert.Equal(t, c.read("var/lib/eco2/encryption.yaml"), c.read("etc/kubernetes/encryption.yaml"))
				assert.Contains(t, c.read("var/lib/eco2/encryption.yaml"), "secretbox")
				assert.NoFileExists(t, filepath.Join(c.dir, "var/lib/etcd/member/wal"))
			}
			assert.NoFileExists(t, filepath.Join(c.dir, "etc/cni/net.d/old"), "the next pod network would read it")
			assert.FileExists(t, filepath.Join(c.dir, "etc/kubernetes/pki/.initialized"))
			assert.NoFileExists(t, filepath.Join(c.dir, "etc/kubernetes/super-admin.conf"), "it cannot be revoked")
			assert.Contains(t, c.read("applied"), "eco2-node-labels")
			assert.Contains(t, c.read("patch"), "- {key: node-role.kubernetes.io/control-plane, effect: NoSchedule}",
				"CoreDNS could run on no node before the first worker joins")
		})
	}
}

// A new machine with the volume of an old one brings up the same control plane: with its data, its certificate
// authorities and its key, and at its address.
func TestANewMachineAdoptsTheControlPlaneOnTheVolume(t *testing.T) {
	machine := func(t *testing.T, address string) (testHost, string, error) {
		c := newTestHost(t)
		c.command("kubectl", `echo "kubectl $*" >>"`+c.dir+`/done"`)
		c.command("systemctl", `[[ $* != *kubelet* ]] || echo "systemctl $*" >>"`+c.dir+`/done"`)
		c.command("kubeadm", `echo "kubeadm $*" | sed 's| --config [^ ]*||' >>"`+c.dir+`/done"
touch "`+c.dir+`/etc/kubernetes/super-admin.conf"`)
		c.write("scripts/upgrade-control-plane.sh", "")
		for file, content := range map[string]string{
			"etc/kubernetes/pki/.initialized": "", "etc/kubernetes/pki/ca.key": "the authority's key", "var/lib/etcd/member/snap/db": "objects",
			"var/lib/eco2/cluster": "eco2-dev", "var/lib/eco2/made-on": "aws:///a/i-0", "var/lib/eco2/encryption.yaml": "the key",
		} {
			c.write(file, content)
		}
		if address != "" {
			c.write("var/lib/eco2/address", address+"\n")
		}
		files, err := controlPlaneFiles("the configuration\n")
		require.NoError(t, err)
		printed, err := c.try("init", files, "--node", "k8s-master", "--address", "10.0.0.10",
			"--provider-id", "aws:///a/i-1", "--labels", "a=b", "--taints", "", "--", "--node", "k8s-master")
		assert.Equal(t, "the authority's key", c.read("etc/kubernetes/pki/ca.key"))
		assert.Equal(t, "objects", c.read("var/lib/etcd/member/snap/db"))
		assert.Equal(t, "the key", c.read("var/lib/eco2/encryption.yaml"))
		return c, printed, err
	}

	c, printed, err := machine(t, "10.0.0.10")
	require.NoError(t, err, printed)
	done := c.read("done")
	at := -1
	for _, step := range []string{
		"kubeadm config validate\n", "kubeadm config images pull\n",
		"kubeadm init --skip-token-print --ignore-preflight-errors=DirAvailable--var-lib-etcd --skip-phases=mark-control-plane,bootstrap-token,addon,show-join-command\n",
		"kubectl delete node k8s-master", "systemctl restart kubelet\n", "kubectl wait --for=create node/k8s-master", "kubeadm init phase mark-control-plane\n",
	} {
		next := strings.Index(done, step)
		assert.Greater(t, next, at, "%s in\n%s", step, done)
		at = next
	}
	assert.Equal(t, "the key", c.read("etc/kubernetes/encryption.yaml"))
	assert.Equal(t, "the configuration\n", c.read("etc/kubernetes/kubeadm.yaml"))
	assert.NoFileExists(t, filepath.Join(c.dir, "etc/kubernetes/super-admin.conf"))
	assert.Equal(t, "10.0.0.10 aws:///a/i-1 joined\n", c.read("nodes/k8s-master"))
	assert.NotContains(t, done, "reset")

	for address, says := range map[string]string{"10.0.0.4": "has the address 10.0.0.4", "": "has the address unknown"} {
		c, printed, err := machine(t, address)
		require.Error(t, err)
		assert.Contains(t, printed, says)
		assert.Empty(t, c.read("done"))
	}
}

// etcd's data of a snapshot gets a revision that it never had before anything reads it. The work may be interrupted at
// any time before its end, and no data is lost.
func TestEtcdContinuesAtAHigherRevisionAfterARestore(t *testing.T) {
	const db = "member/snap/db"
	for name, test := range map[string]struct {
		left  map[string]string // on the volume
		fails string            // what ctr run does
		says  string
		then  string // the database that etcd has
	}{
		"at the first try": {left: map[string]string{"etcd/" + db: "old"}, then: "raised old"},
		"the data was not complete": {
			left: map[string]string{"etcd/" + db: "old", "etcd.new/" + db: "half"}, then: "raised old",
		},
		"the old data was set aside": {
			left: map[string]string{"etcd.old/" + db: "old", "etcd.new/" + db: "raised old"}, then: "raised old",
		},
		"only the mark was left": {
			left: map[string]string{"etcd.old/" + db: "old", "etcd/" + db: "raised old"}, then: "raised raised old",
		},
		"it fails": {
			left: map[string]string{"etcd/" + db: "old"}, fails: "echo no space; exit 1", then: "old",
			says: "no space\nerror: raising etcd's revision failed; the lines above say why",
		},
		"it makes nothing": {left: map[string]string{"etcd/" + db: "old"}, fails: "exit 0", then: "old", says: "left no data in"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			log := `>>"` + c.dir + `/done"`
			c.command("kubectl", "")
			c.command("systemctl", "")
			c.command("sync", "")
			c.write("scripts/upgrade-control-plane.sh", "")
			c.command("kubeadm", `[[ $1-$2 != config-images || $3 != list ]] || printf 'registry.k8s.io/pause:3.10\nregistry.k8s.io/etcd:3.6.8-0\n'
[[ $1 != init || $2 == phase ]] || echo "kubeadm init" `+log)
			c.command("ctr", `[[ $2 == run ]] || exit 1
echo "ctr $*" | sed "s|`+c.dir+`||g" `+log+`
`+test.fails+`
for arg; do
  case $arg in
  --data-dir=*) to=${arg#*=} ;;
  */member/snap/db) from=$arg ;;
  esac
done
[[ ! -e $to ]] || exit 1
mkdir -p "$to/member/snap"
echo "raised $(<"$from")" >"$to/member/snap/db"`)
			for file, content := range map[string]string{
				"etc/kubernetes/pki/.initialized": "", "var/lib/eco2/cluster": "eco2-dev", "var/lib/eco2/made-on": "aws:///a/i-0",
				"var/lib/eco2/encryption.yaml": "the key", "var/lib/eco2/address": "10.0.0.10\n", "var/lib/eco2/restored": "vol-0a0\n",
			} {
				c.write(file, content)
			}
			for file, content := range test.left {
				c.write("var/lib/eco2/"+file, content)
			}
			require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "var/lib/eco2/etcd"), 0o700))
			files, err := controlPlaneFiles("the configuration\n")
			require.NoError(t, err)
			printed, err := c.try("init", files, "--node", "k8s-master", "--address", "10.0.0.10",
				"--provider-id", "aws:///a/i-1", "--labels", "a=b", "--taints", "", "--", "--node", "k8s-master")
			assert.Equal(t, test.then, strings.TrimSpace(c.read("var/lib/eco2/etcd/"+db)))
			if test.says != "" {
				require.Error(t, err)
				assert.Contains(t, printed, test.says)
				assert.NotContains(t, c.read("done"), "kubeadm init")
				assert.FileExists(t, filepath.Join(c.dir, "var/lib/eco2/restored"), "the next run would not raise the revision")
				return
			}
			require.NoError(t, err, printed)
			assert.Equal(t, "ctr --namespace=k8s.io run --rm --mount type=bind,src=/var/lib/eco2,dst=/var/lib/eco2,options=rbind:rw "+
				"registry.k8s.io/etcd:3.6.8-0 eco2-etcdutl etcdutl snapshot restore /var/lib/eco2/etcd/member/snap/db --data-dir=/var/lib/eco2/etcd.new "+
				"--skip-hash-check --bump-revision=1000000000 --mark-compacted --name=k8s-master "+
				"--initial-cluster=k8s-master=https://10.0.0.10:2380 --initial-advertise-peer-urls=https://10.0.0.10:2380\nkubeadm init\n", c.read("done"))
			for _, left := range []string{"restored", "etcd.old", "etcd.new"} {
				assert.NoFileExists(t, filepath.Join(c.dir, "var/lib/eco2", left))
				assert.NoDirExists(t, filepath.Join(c.dir, "var/lib/eco2", left))
			}
		})
	}
}

// A join must start on a clean machine and leave a clean one if it fails, so that the next can succeed. It must end only
// when the Node exists with the machine's provider ID, without which a load balancer has no targets.
func TestJoin(t *testing.T) {
	const (
		key      = "-----BEGIN KEY-----\nsecret\n"
		joined   = `echo "k8s-redis aws:///a/i-1" >../../node-k8s-redis`
		resets   = "reset --force\n"
		joins    = "join\n"
		leftover = "etc/kubernetes/bootstrap-kubelet.conf"
	)
	for name, test := range map[string]struct {
		exists string
		join   string // what kubeadm join does
		calls  string
		fails  string
	}{
		"a new machine":                     {join: joined, calls: joins},
		"after a join that was interrupted": {exists: leftover, join: joined, calls: resets + joins},
		"a join that fails":                 {join: "exit 1", calls: joins + resets, fails: "k8s-redis could not join and was reset"},
		"there is no Node":                  {join: "true", calls: joins, fails: "k8s-redis has joined but no Node appeared"},
		"the Node has no provider ID":       {join: `echo "k8s-redis " >../../node-k8s-redis`, calls: joins, fails: "k8s-redis has joined but no Node appeared"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newHostOfWorker(t)
			require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "etc/kubernetes"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "var/log"), 0o755))
			require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "run"), 0o755))
			if test.exists != "" {
				c.write(test.exists, "")
			}
			c.command("openssl", "")
			c.command("journalctl", "")
			c.command("kubeadm", `cd "`+c.dir+`/etc/kubernetes"
echo "$*" | sed 's| --config .*||' >>../../kubeadm
[[ $1 != join ]] || `+test.join)
			printed, err := c.try("join", key, "--node", "k8s-redis", "--address", "10.0.0.5", "--host-key", "", "--user", "ubuntu",
				"--endpoint", "10.0.0.4:6443", "--provider-id", "aws:///a/i-1", "--labels", "a=b", "--taints", "c=d:NoSchedule")
			assert.Equal(t, test.calls, c.read("kubeadm"), printed)
			assert.NotContains(t, printed, "secret")
			if test.fails == "" {
				require.NoError(t, err, printed)
				return
			}
			require.Error(t, err)
			assert.Contains(t, printed, test.fails)
		})
	}
}
