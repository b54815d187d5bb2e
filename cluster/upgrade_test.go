package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/infra"
)

// testConfiguration returns a configuration of kubeadm as the program writes it.
func testConfiguration(t *testing.T, version string) string {
	t.Helper()
	c := config.Config{
		Name: "eco2-test", PodCidr: netip.MustParsePrefix("192.168.0.0/16"), ServiceCidr: netip.MustParsePrefix("10.96.0.0/12"),
		Versions: config.Versions{Kubernetes: version},
	}
	node := &infra.Node{NodeSpec: infra.NodeSpec{Name: "k8s-master", Labels: map[string]string{"role": "control-plane"}}}
	text, err := initConfiguration(c, node, "10.0.0.10", "203.0.113.1", "aws:///a/i-0")
	require.NoError(t, err)
	return text
}

// Another version or configuration is applied by kubeadm, and nothing is done for a control plane that has both.
func TestUpgradeControlPlane(t *testing.T) {
	const (
		validate  = "kubeadm config validate\n"
		upload    = "kubeadm init phase upload-config all of v1.36.4\n"
		apply     = "kubeadm upgrade apply --yes v1.36.4 --skip-phases=preflight,addon\n"
		configure = validate + upload + apply
		outdated  = "kubectl annotate --overwrite nodes --all eco2.io/kubelet-configuration=outdated\n"
		restart   = "crictl pods --namespace=kube-system --label=component=kube-apiserver --state=ready --quiet\ncrictl stopp pod-1\n"
		prepare   = "prepare --node k8s-master --containerd-version 2.3.4 --upgrade kubeadm\n"
		pull      = "kubeadm config images pull of v%[1]s\n"
		upgraded  = validate + upload + "kubeadm upgrade apply --yes v%[1]s --skip-phases=preflight\n"
	)
	replace := func(old, new string) func(string) string {
		return func(text string) string {
			require.Contains(t, text, old)
			return strings.Replace(text, old, new, 1)
		}
	}
	for name, test := range map[string]struct {
		wanted string // another version
		change func(string) string
		file   bool   // one of the API server's files has changed
		exists string // what a run that was interrupted has left
		breaks bool   // kubeadm upgrade apply fails
		calls  string
		says   string
		fails  bool
	}{
		"nothing has changed":              {},
		"a label of the control plane has": {change: replace("role=control-plane", "role=other")},
		"an argument of the API server": {change: replace(`"profiling"`, `"contention-profiling"`), calls: configure,
			says: "applying the changed configuration to the control plane; its API may be away for a minute"},
		"the configuration of the kubelets":            {change: replace(`"podPidsLimit": 4096`, `"podPidsLimit": 100`), calls: validate + outdated + upload + apply},
		"a file of the API server":                     {file: true, calls: configure + restart, says: "to the control plane, audit.yaml;"},
		"a file that an interrupted run has installed": {exists: "etc/kubernetes/api-server/.unread", calls: configure + restart},
		"a name of the API server": {change: replace("203.0.113.1", "203.0.113.2"),
			calls: validate + upload + "kubeadm init phase certs apiserver of v1.36.4\n" + restart + apply,
			says:  "making the API server's certificate again, for 203.0.113.2 too"},
		"a patch version": {wanted: "1.36.5", calls: prepare + fmt.Sprintf(pull+upgraded, "1.36.5"),
			says: "upgrading the control plane from Kubernetes 1.36.4 to 1.36.5"},
		"a minor version":    {wanted: "1.37.0", calls: prepare + fmt.Sprintf(pull+upgraded, "1.37.0")},
		"two minor versions": {wanted: "1.38.1", fails: true, says: "by one minor version at a time; set eco2:versions.kubernetes to a version of 1.37 first, and then to 1.38.1"},
		"an older version":   {wanted: "1.36.3", fails: true, says: "the control plane has Kubernetes 1.36.4 and cannot go back to 1.36.3"},
		"an upgrade that fails": {wanted: "1.36.5", breaks: true, fails: true, calls: prepare + fmt.Sprintf(pull+upgraded, "1.36.5"),
			says: "error: kubeadm upgrade apply failed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			c.command("kubectl", `cd "`+c.dir+`"
case "$*" in
*"get configmap kubeadm-config"*) printf 'kind: ClusterConfiguration\nkubernetesVersion: v1.36.4\nnetworking: {}\n';;
annotate*) echo "kubectl $*" >>done;;
esac`)
			c.command("kubeadm", `cd "`+c.dir+`"
of='' file=''
while [[ $# -gt 0 ]]; do
  if [[ $1 == --config ]]; then file=$2; shift; else words+=("$1"); fi
  shift
done
[[ -z $file || "${words[*]}" == *validate ]] || of=" of $(sed -n 's/.*"kubernetesVersion": "\(.*\)",/\1/p' "$file")"
echo "kubeadm ${words[*]}$of" >>done
[[ ! -e breaks || "${words[*]}" != upgrade* ]]`)
			c.command("crictl", `echo "crictl $*" >>"`+c.dir+`/done"; [[ $1 != pods ]] || echo pod-1`)
			c.command("openssl", `echo 'DNS:k8s-master, IP Address:203.0.113.1, IP Address:10.0.0.10'`)
			c.write("scripts/prepare.sh", `echo "prepare $*" >>"`+c.dir+`/done"`)
			applied := testConfiguration(t, "1.36.4")
			c.write("etc/kubernetes/kubeadm.yaml", applied)
			c.write("etc/kubernetes/encryption.yaml", "the key")
			c.write("etc/kubernetes/manifests/kube-apiserver.yaml", "a pod")
			wanted := applied
			if test.wanted != "" {
				wanted = testConfiguration(t, test.wanted)
			}
			if test.change != nil {
				wanted = test.change(wanted)
			}
			c.write("files/kubeadm.yaml", wanted)
			for _, file := range []string{"admission.yaml", "audit.yaml", "authentication.yaml"} {
				c.write("etc/kubernetes/api-server/"+file, file)
				c.write("files/"+file, file)
			}
			if test.file {
				c.write("files/audit.yaml", "another")
			}
			if test.exists != "" {
				c.write(test.exists, "")
			}
			if test.breaks {
				c.write("breaks", "")
			}
			printed, err := c.try("upgrade-control-plane", "", "--node", "k8s-master", "--files", c.dir+"/files",
				"--", "--node", "k8s-master", "--containerd-version", "2.3.4")
			assert.Equal(t, test.fails, err != nil, printed)
			assert.Equal(t, test.calls, c.read("done"), printed)
			assert.Contains(t, printed, test.says)
			if test.fails {
				assert.Equal(t, applied, c.read("etc/kubernetes/kubeadm.yaml"), "the next run begins again")
				return
			}
			assert.Equal(t, wanted, c.read("etc/kubernetes/kubeadm.yaml"))
			assert.Equal(t, c.read("files/audit.yaml"), c.read("etc/kubernetes/api-server/audit.yaml"))
			assert.NoFileExists(t, filepath.Join(c.dir, "etc/kubernetes/api-server/.unread"))
		})
	}
}

// upgradingHost returns a host with a control plane and three workers, whose nodes are lines of the file nodes: name,
// versions of kubelet and runtime, two annotations, whether it is cordoned, and the annotation with the date of its updates. The workers run on this machine: what they do is in the file done.
func upgradingHost(t *testing.T, nodes string) testHost {
	t.Helper()
	c := newHostOfWorker(t)
	c.write("nodes.txt", nodes)
	c.command("kubectl", `cd "`+c.dir+`"
exec 8>lock; flock 8
set_field() { awk -F'|' -v OFS='|' -v n="$1" -v f="$2" -v v="$3" '$1 == n { $f = v } 1' nodes.txt >nodes.new; mv nodes.new nodes.txt; }
field() { awk -F'|' -v n="$1" -v f="$2" '$1 == n { print $f }' nodes.txt; }
case "$*" in
"get nodes --output"*) cut -d'|' -f1-5,7 nodes.txt;;
"get node "*unschedulable*) field "$3" 6;;
"get node "*cordoned*) field "$3" 5;;
"get node "*kubeletVersion*) [[ -e "broken-$3" ]] || echo "$(field "$3" 2) $(field "$3" 3) True";;
"get node "*Ready*) if [[ -e "unready-$3" ]]; then echo Unknown; else echo True; fi;;
*"get pods"*) echo True;;
"get --raw"*) ;;
"annotate --overwrite node "*cordoned*) set_field "$4" 5 yes;;
"annotate node "*cordoned*-) set_field "$3" 5 '';;
"annotate --overwrite node "*packages=*) set_field "$4" 7 "${5#*=}";;
"annotate node "*configuration-) set_field "$3" 4 '';;
"cordon "*) set_field "$2" 6 true; echo "cordon $2" >>done;;
"uncordon "*) set_field "$2" 6 ''; echo "uncordon $2" >>done;;
"drain "*) echo "drain $2" >>done
  [[ ! -e "stuck-$2" ]] || { echo 'error when evicting pods/"db-0" -n "default" (will retry after 5s): Cannot evict pod as it would violate the pod'"'"'s disruption budget.'; exit 1; };;
esac`)
	c.command("ssh", `while [[ $1 == -o ]]; do
  [[ $2 != HostKeyAlias=* ]] || alias=${2#*=}
  [[ $2 != StrictHostKeyChecking=* || $2 == *=yes ]] || exit 255
  shift 2
done
unset SSH_AGENT_PID
NODE=$alias exec bash -c "${*:2}"`)
	c.command("systemd-run", `echo "${*: -1} of ${NODE:-k8s-master}" >>"`+c.dir+`/done"; [[ -e "`+c.dir+`/hangs" ]] || rm "`+c.dir+`/reboot-$NODE"`)
	c.command("kubeadm", `echo "kubeadm $* on ${NODE:-k8s-master}" >>"`+c.dir+`/done"`)
	c.command("systemctl", `[[ $* != 'restart kubelet' ]] || echo "kubelet of ${NODE:-k8s-master}" >>"`+c.dir+`/done"`)
	c.write("scripts/prepare.sh", `set -e; cd "`+c.dir+`"
node=$2
echo "prepare $*" >>done
[[ -z ${SSH_AGENT_PID:-} ]] || echo "it would stop the agent" >>done
[[ ! -e fails-$node ]] || { echo "error: no space left" >&2; exit 1; }
exec 8>lock; flock 8
sed -i "s,^$node|[^|]*|[^|]*|,$node\|v1.36.5\|containerd://2.3.7\|," nodes.txt
exit
`)
	for _, name := range []string{"k8s-master", "w1", "w2", "w3"} {
		c.write("ssh/known_hosts/"+name, name+" ssh-ed25519 AAAA\n")
		c.write("nodes/"+name, "10.0.0.5 aws:///a/"+name+" joined\n")
	}
	c.write("etc/kubernetes/manifests/kube-apiserver.yaml", "")
	return c
}

func (c testHost) upgrade(parallel, packages string) (string, error) {
	c.Helper()
	return c.try("upgrade-nodes", "-----BEGIN KEY-----\n", "--nodes", "k8s-master,w1,w2,w3", "--parallel", parallel, "--user", "ubuntu",
		"--kubelets", "hash", "--packages", packages, "--", "--kubernetes-version", "1.36.5", "--containerd-version", "2.3.7")
}

// Nodes are upgraded one after the other, the control plane's first, and only those that need it.
func TestUpgradeNodes(t *testing.T) {
	const (
		current  = "|v1.36.5|containerd://2.3.7||||\n"
		old      = "|v1.36.4|containerd://2.3.7||||\n"
		runtime  = "|v1.36.5|containerd://2.3.4||||\n"
		outdated = "|v1.36.5|containerd://2.3.7|outdated|||\n"
		updated  = "|v1.36.5|containerd://2.3.7||||2026-11-29\n"
		packages = " --kubernetes-version 1.36.5 --containerd-version 2.3.7 --upgrade all\n"
	)
	const first = "prepare --node k8s-master" + packages + "kubelet of k8s-master\n" // its pods stay
	whole := func(node string) string {
		return "cordon " + node + "\ndrain " + node + "\nprepare --node " + node + packages + "kubelet of " + node + "\nuncordon " + node + "\n"
	}
	machine := func(steps string) string { return strings.Replace(steps, "--upgrade all", "--upgrade machine", 1) }
	for name, test := range map[string]struct {
		nodes    string
		packages string // the date of the machines' updates
		exists   string
		does     string
		left     string // the nodes afterwards, if not all are current
		says     string
		fails    bool
		hangs    bool
	}{
		"nothing is to be done":      {nodes: "k8s-master" + current + "w1" + current + "w2" + current + "w3" + current, says: "all nodes have Kubernetes 1.36.5 and containerd 2.3.7"},
		"all are of another version": {nodes: "k8s-master" + old + "w1" + old + "w2" + old + "w3" + old, does: first + whole("w1") + whole("w2") + whole("w3"), says: "4 of 4: w3"},
		"one has another containerd": {nodes: "k8s-master" + current + "w1" + current + "w2" + runtime + "w3" + current, does: whole("w2"), says: "upgrading 1 nodes"},
		"a kubelet's configuration":  {nodes: "k8s-master" + outdated + "w1" + outdated + "w2" + current + "w3" + current, does: "kubelet of k8s-master\nkubelet of w1\n"},
		"one that somebody has cordoned stays cordoned": {nodes: "k8s-master" + current + "w1|v1.36.4|containerd://2.3.7|||true|\n" + "w2" + current + "w3" + current,
			does: strings.NewReplacer("uncordon w1\n", "", "cordon w1\n", "").Replace(whole("w1")), left: "w1|v1.36.5|containerd://2.3.7|||true|\n"},
		"a run that was interrupted before it let pods in again": {nodes: "k8s-master" + current + "w1|v1.36.5|containerd://2.3.7||yes|true|\n" + "w2" + current + "w3" + current, does: "uncordon w1\n"},
		"a run that was interrupted while it drained":            {nodes: "k8s-master" + current + "w1|v1.36.4|containerd://2.3.7||yes|true|\n" + "w2" + current + "w3" + current, does: strings.Replace(whole("w1"), "cordon w1\n", "", 1)},
		"pods that cannot be evicted": {nodes: "k8s-master" + current + "w1" + old + "w2" + old + "w3" + old, exists: "stuck-w1", does: "cordon w1\ndrain w1\nuncordon w1\n", left: "w1" + old,
			fails: true, says: "disruption budget.\nerror: w1 could not be drained within 300 s, takes pods again, and keeps its versions"},
		"a node that does not answer": {nodes: "k8s-master" + current + "w1" + old + "w2" + old + "w3" + old, exists: "unready-w1", left: "w1" + old, fails: true, says: "w1 is not ready, and is not upgraded before it is"},
		"packages that cannot be installed": {nodes: "k8s-master" + current + "w1" + old + "w2" + old + "w3" + old, exists: "fails-w1", left: "w1|v1.36.4|containerd://2.3.7||yes|true|\n",
			does: "cordon w1\ndrain w1\nprepare --node w1" + packages, fails: true, says: "error: no space left\nerror: w1 could not be upgraded, and takes no pods until it is"},
		"a node that does not come back": {nodes: "k8s-master" + current + "w1" + current + "w2" + old + "w3" + old, exists: "broken-w2", left: "w3" + old, fails: true,
			does: strings.Replace(whole("w2"), "uncordon w2\n", "", 1), says: "w2 is not ready 0 s after its upgrade, and takes no pods until it is"},
		"a worker whose host key is not known": {nodes: "k8s-master" + current + "w1" + old + "w2" + old + "w3" + old, exists: "ssh/known_hosts/w1", left: "w1" + old, fails: true,
			says: "this machine does not know the SSH host key of w1; run the update again with --target '**::member-w1'"},
		"updates of all machines": {packages: "2026-11-29", nodes: "k8s-master" + current + "w1" + current + "w2" + old + "w3" + updated,
			does: machine(first) + machine(whole("w1")) + machine(whole("w2")), left: "k8s-master" + updated + "w1" + updated + "w2" + updated + "w3" + updated, says: ", and all updates"},
		"updates for a later date": {packages: "2026-12-01", nodes: "w1" + updated, does: machine(whole("w1")), left: "w1|v1.36.5|containerd://2.3.7||||2026-12-01\n"},
		"updates that were newer":  {packages: "2026-11-01", nodes: "w1" + updated, left: "w1" + updated},
		"an update that needs a restart": {packages: "2026-11-29", nodes: "w1" + current, exists: "reboot-w1", left: "w1" + updated,
			does: strings.Replace(machine(whole("w1")), "uncordon", "reboot of w1\nuncordon", 1), says: "w1: restarting the machine"},
		"a machine that does not come back": {packages: "2026-11-29", nodes: "w1" + current + "w2" + current, exists: "reboot-w1", hangs: true, left: "w2" + current, fails: true,
			does: strings.Replace(machine(whole("w1")), "uncordon w1", "reboot of w1", 1), says: "w1 has not come back 0 s after its restart, and takes no pods until it does"},
		"an update that needs a restart of the control plane": {packages: "2026-11-29", nodes: "k8s-master" + current, exists: "reboot-k8s-master", left: "k8s-master" + updated,
			does: machine(first), says: "k8s-master: its updates need a restart; a new machine has them: pulumi up --replace '**Instance::k8s-master'"},
		"a node that is not in the cluster": {nodes: "k8s-master" + current + "w1" + current + "w2" + current},
	} {
		t.Run(name, func(t *testing.T) {
			c := upgradingHost(t, test.nodes)
			if test.exists != "" {
				c.write(test.exists, "")
			}
			if test.hangs {
				c.write("hangs", "")
			}
			printed, err := c.upgrade("1", test.packages)
			assert.Equal(t, test.fails, err != nil, printed)
			done := strings.NewReplacer("kubeadm upgrade node on w1\n", "", "kubeadm upgrade node on w2\n", "", "kubeadm upgrade node on w3\n", "").Replace(c.read("done"))
			assert.Equal(t, test.does, done, printed)
			assert.Contains(t, printed, test.says)
			assert.Contains(t, c.read("nodes.txt"), test.left)
			if !test.fails && test.left == "" {
				assert.Equal(t, strings.Repeat("X"+current, strings.Count(test.nodes, "\n")), regexp.MustCompile(`(?m)^[a-z0-9-]+`).ReplaceAllString(c.read("nodes.txt"), "X"))
			}
			if test.fails {
				assert.Contains(t, printed, "The next update goes on from here")
			}
		})
	}
}

// If a node of several fails, the others that were begun are finished, and no other is begun.
func TestUpgradeSeveralNodesAtATime(t *testing.T) {
	old := "|v1.36.4|containerd://2.3.7||||\n"
	c := upgradingHost(t, "k8s-master"+old+"w1"+old+"w2"+old+"w3"+old)
	printed, err := c.upgrade("4", "")
	require.NoError(t, err, printed)
	assert.Equal(t, 4, strings.Count(c.read("nodes.txt"), "|v1.36.5|containerd://2.3.7||||\n"), printed)

	c = upgradingHost(t, "k8s-master"+old+"w1"+old+"w2"+old+"w3"+old)
	c.write("fails-k8s-master", "")
	printed, err = c.upgrade("2", "")
	require.Error(t, err)
	nodes := c.read("nodes.txt")
	assert.Contains(t, nodes, "k8s-master"+old)
	assert.Contains(t, nodes, "w3"+old, printed)
	assert.NotContains(t, c.read("nodes.txt"), "w1|v1.36.5|containerd://2.3.7||yes", "it takes pods again")

	require.NoError(t, os.Remove(filepath.Join(c.dir, "fails-k8s-master")))
	printed, err = c.upgrade("2", "")
	require.NoError(t, err, printed)
	assert.Equal(t, 4, strings.Count(c.read("nodes.txt"), "|v1.36.5|containerd://2.3.7||||\n"), printed)
}
