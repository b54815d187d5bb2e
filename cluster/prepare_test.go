package cluster

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// aptStandIn is a script that stands in for apt, dpkg and others. It records its calls, fails as the file failures
// says, and keeps track of installed packages.
const aptStandIn = `#!/bin/bash
cd "$(dirname "$0")/.."
call="$(basename "$0") $*"
case $call in
dpkg-query*)
  cat "installed/${!#}" 2>/dev/null
  exit;;
kubeadm*) echo v1.36.5; exit;;
sleep*) exit;;
curl*) while (($# > 1)); do [[ $1 != --output ]] || echo key >"$2"; shift; done; exit;;
esac
echo "$call" >>calls
# Each line of failures is the beginning of a call that fails, and its error.
if read -r begins how < <(head -n 1 failures 2>/dev/null) && [[ $call == "${begins//_/ }"* ]]; then
  sed -i 1d failures
  echo "$how" >&2
  exit 100
fi
[[ $call == *' install '* ]] || exit 0
for package; do
  [[ $package != *=* ]] || echo "installed ${package#*=}" | tr '*' 2 >"installed/${package%%=*}"
done
`

func TestPackages(t *testing.T) {
	const (
		locked   = "E: Could not get lock /var/cache/apt/archives/lock. It is held by process 7 (apt-get)"
		update   = "apt-get update --error-on=any\n"
		half     = "dpkg --force-confold --configure -a\n"
		hold     = "apt-mark hold containerd.io kubelet kubeadm kubectl cri-tools\n"
		install  = "apt-get install --no-install-recommends --allow-change-held-packages --allow-downgrades "
		otherKey = "W: GPG error: https://pkgs.k8s.io/core:/stable:/v1.36/deb  InRelease: The following signatures couldn't be " +
			"verified because the public key is not available: GOODSIG 05A93FF6C3BC420B"
		replacedKey = "W: An error occurred during the signature verification. The repository is not updated and the previous " +
			"index files will be used. GPG error: https://mirror.example/files/download.docker.com/linux/debian bookworm " +
			"InRelease: The following signatures were invalid: EXPKEYSIG 05A93FF6C3BC420B"
		refused = "The pinned keys are FINGERPRINT-K for pkgs.k8s.io and FINGERPRINT-D for download.docker.com. If your mirror " +
			"signs it with a key of its own, set eco2:mirror.keys; if upstream has announced a new key, pin that in " +
			"config/versions.go\n"
		all = "containerd.io=2.3.7-*~debian.12~bookworm kubelet=1.36.5-* kubeadm=1.36.5-* kubectl=1.36.5-* cri-tools=1.36.*\n"
	)
	there := func(change map[string]string) map[string]string {
		packages := map[string]string{
			"containerd.io": "2.3.7-1~debian.12~bookworm", "kubelet": "1.36.5-1.1", "kubeadm": "1.36.5-2.1", "kubectl": "1.36.5-1.1", "cri-tools": "1.36.0-1.1",
		}
		for name, version := range change {
			packages[name] = version
		}
		return packages
	}
	const older = "kubelet=1.36.5-* kubeadm=1.36.5-* kubectl=1.36.5-*\n"
	upgradable := there(map[string]string{"kubelet": "1.36.4-1.1", "kubeadm": "1.36.4-1.1", "kubectl": "1.36.4-1.1"})
	for name, test := range map[string]struct {
		installed map[string]string
		joined    bool   // the machine is a node of a cluster
		upgrade   string // the packages that the run may replace there
		failures  string
		calls     string
		prints    string
		fails     bool
	}{
		"a new machine": {calls: half + update + install + all + hold},
		"everything is installed, in any revision":            {installed: there(nil), calls: hold},
		"another version of one package":                      {installed: there(map[string]string{"kubectl": "1.36.50-1.1"}), calls: half + update + install + "kubectl=1.36.5-*\n" + hold},
		"a package of another Debian release":                 {installed: there(map[string]string{"containerd.io": "2.3.7-1~debian.13~trixie"}), calls: half + update + install + "containerd.io=2.3.7-*~debian.12~bookworm\n" + hold},
		"another process holds the lock of the package lists": {failures: "apt-get_update " + locked, calls: half + update + half + update + install + all + hold, prints: "has to wait: " + locked},
		"another process holds the lock of the archives":      {failures: "apt-get_install " + locked, calls: half + update + install + all + half + update + install + all + hold, prints: "has to wait: " + locked},
		"another process holds dpkg's lock":                   {failures: "dpkg_ dpkg: error: dpkg frontend lock was locked by another process with pid 7", calls: half + half + update + install + all + hold, prints: "has to wait: dpkg: error: dpkg frontend lock"},
		"another process holds dpkg's lock at the end":        {failures: "apt-mark E: Executing dpkg failed", calls: half + update + install + all + hold + hold, prints: "has to wait: E: Executing dpkg failed"},
		"two locks, one after the other":                      {failures: "apt-get_update " + locked + "\napt-get_install " + locked, calls: half + update + half + update + install + all + half + update + install + all + hold},
		"there is no such version":                            {failures: "apt-get_install E: Version '1.36.5-*' for 'kubelet' was not found", calls: half + update + install + all, prints: "E: Version '1.36.5-*' for 'kubelet' was not found\nerror: installing packages on node failed", fails: true},
		"there is no such package":                            {failures: "apt-get_install E: Unable to locate package cri-tools", calls: half + update + install + all, prints: "E: Unable to locate package cri-tools\nerror:", fails: true},
		"another key signed a repository": {failures: "apt-get_update " + otherKey, calls: half + update, prints: otherKey + "\n" +
			"error: apt on node does not accept the signature of a package repository; the lines above name the repository and " +
			"the key that signed it. " + refused, fails: true},
		"a node": {joined: true, installed: there(nil)},
		"a node of an older version": {joined: true, installed: upgradable, calls: update + strings.Replace(install, "-downgrades", "-downgrades --download-only", 1) + older,
			prints: "node has joined the cluster: downloading kubelet=1.36.5-*, kubeadm=1.36.5-*, kubectl=1.36.5-* for its upgrade"},
		"kubeadm of a node that is upgraded":      {joined: true, upgrade: "kubeadm", installed: upgradable, calls: half + update + install + "kubeadm=1.36.5-*\napt-mark hold kubeadm cri-tools\n"},
		"all packages of a node that is upgraded": {joined: true, upgrade: "all", installed: upgradable, calls: half + update + install + older + hold},
		"all updates of a node":                   {joined: true, upgrade: "machine", installed: there(nil), calls: hold + update + "apt-get upgrade --with-new-pkgs\n", prints: "installing the updates of node"},
		"updates that have to wait":               {joined: true, upgrade: "machine", installed: there(nil), failures: "apt-get_upgrade " + locked, calls: hold + update + "apt-get upgrade --with-new-pkgs\n" + update + "apt-get upgrade --with-new-pkgs\n", prints: "has to wait: " + locked},
		"another key signed a known repository":   {failures: "apt-get_update " + replacedKey, calls: half + update, prints: refused, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := testHost{t, t.TempDir()}
			require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "installed"), 0o755))
			for _, command := range []string{"apt-get", "apt-mark", "dpkg", "dpkg-query", "kubeadm", "curl", "sleep"} {
				c.write("bin/"+command, aptStandIn)
				require.NoError(t, os.Chmod(filepath.Join(c.dir, "bin", command), 0o755))
			}
			for name, version := range test.installed {
				c.write("installed/"+name, "installed "+version)
			}
			if test.failures != "" {
				c.write("failures", test.failures+"\n")
			}
			if test.joined {
				c.write("etc/kubernetes/kubelet.conf", "")
			}
			c.write("os-release", "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n")
			text, err := scriptText("prepare")
			require.NoError(t, err)
			text = strings.NewReplacer("/run/eco2.", c.dir+"/scratch.", "/etc/apt/", c.dir+"/apt/", "/etc/os-release", c.dir+"/os-release", "/etc/kubernetes/", c.dir+"/etc/kubernetes/",
				"apt-get --assume-yes --option Acquire::Retries=3 --option Dpkg::Options::=--force-confold", "apt-get",
				`main "$@"; exit`, "node=node kubernetes_version=1.36.5 containerd_version=2.3.7 files_mirror=''\n"+
					"kubernetes_key=FINGERPRINT-K docker_key=FINGERPRINT-D upgrade="+cmp.Or(test.upgrade, "none")+"\ninstall_packages; exit").Replace(text)
			cmd := exec.CommandContext(t.Context(), "bash", "-s")
			cmd.Env = append(os.Environ(), "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
			cmd.Stdin = strings.NewReader(text)
			printed, err := cmd.CombinedOutput()
			assert.Equal(t, test.fails, err != nil, string(printed))
			assert.Equal(t, test.calls, c.read("calls"), string(printed))
			assert.Contains(t, string(printed), test.prints)
			if strings.Contains(test.calls, install) {
				assert.Equal(t, "key\n", c.read("apt/keyrings/kubernetes.asc"), "the key is downloaded again")
				// apt selects the key by its fingerprint from all keys in the file.
				assert.Equal(t, fmt.Sprintf("deb [signed-by=%s/apt/keyrings/kubernetes.asc,FINGERPRINT-K] "+
					"https://pkgs.k8s.io/core:/stable:/v1.36/deb/ /\n", c.dir), c.read("apt/sources.list.d/kubernetes.list"))
				assert.Equal(t, fmt.Sprintf("deb [signed-by=%s/apt/keyrings/docker.asc,FINGERPRINT-D] "+
					"https://download.docker.com/linux/debian bookworm stable\n", c.dir), c.read("apt/sources.list.d/docker.list"))
			}
		})
	}
}

// replacedProgram runs a program whose file is deleted, as that of a package that is replaced, and returns its process.
func replacedProgram(t *testing.T, dir string) (pid int) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	data, err := os.ReadFile(sleep)
	require.NoError(t, err)
	program := filepath.Join(dir, "containerd")
	require.NoError(t, os.WriteFile(program, data, 0o700)) //nolint:gosec // it is run
	running := exec.CommandContext(t.Context(), program, "60")
	require.NoError(t, running.Start())
	t.Cleanup(func() { _ = running.Wait() }) // it is killed when the test is over
	require.NoError(t, os.Remove(program))
	return running.Process.Pid
}

// A run may be interrupted between writing containerd's configuration and restarting it. The next run detects that by
// comparing times.
func TestContainerdIsRestartedForANewConfiguration(t *testing.T) {
	for name, test := range map[string]struct {
		// configured says that the file already has the right content, and started when containerd was started.
		configured bool
		started    string
		// replaced says that another containerd has been installed since.
		replaced bool
		restarts bool
	}{
		"a new configuration":                          {started: "@1000000000", restarts: true},
		"a configuration that containerd has read":     {configured: true, started: "@4000000000"},
		"a configuration that is newer than its start": {configured: true, started: "@1000000000", restarts: true},
		"an unknown start time":                        {configured: true, started: "n/a", restarts: true},
		"another containerd":                           {configured: true, started: "@4000000000", replaced: true, restarts: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := testHost{t, t.TempDir()}
			started := test.started
			if strings.HasPrefix(started, "@") { // as systemctl writes it
				written, err := exec.CommandContext(t.Context(), "date", "--utc", "--date="+started, "+%a %Y-%m-%d %H:%M:%S.%6N UTC").Output()
				require.NoError(t, err)
				started = strings.TrimSpace(string(written))
			}
			running := os.Getpid()
			if test.replaced {
				running = replacedProgram(t, c.dir)
			}
			c.write("bin/systemctl", fmt.Sprintf(`#!/bin/bash
case "$*" in
*MainPID*) echo %d;;
show*) echo '%s';;
*) echo "$*" >>%s/calls;;
esac
`, running, started, c.dir))
			c.write("bin/crictl", "#!/bin/bash\n")
			for _, command := range []string{"systemctl", "crictl"} {
				require.NoError(t, os.Chmod(filepath.Join(c.dir, "bin", command), 0o755))
			}
			text, err := scriptText("prepare")
			require.NoError(t, err)
			text = strings.NewReplacer("/run/eco2.", c.dir+"/scratch.", "/etc/containerd/config.toml", c.dir+"/config.toml",
				"/etc/containerd/certs.d/_default", c.dir, "/etc/crictl.yaml", c.dir+"/crictl.yaml",
				`main "$@"; exit`, "node=node pause_version=3.10 images_mirror=''\nconfigure_containerd; exit").Replace(text)
			run := func() {
				require.NoError(t, os.RemoveAll(filepath.Join(c.dir, "calls")))
				cmd := exec.CommandContext(t.Context(), "bash", "-s")
				cmd.Env = append(os.Environ(), "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
				cmd.Stdin = strings.NewReader(text)
				printed, err := cmd.CombinedOutput()
				require.NoError(t, err, string(printed))
			}
			if test.configured {
				run()
			}
			run()
			want := "enable --now --quiet containerd kubelet\n"
			if test.restarts {
				want += "restart containerd\n"
			}
			assert.Equal(t, want, c.read("calls"))
			configuration := c.read("config.toml")
			assert.Contains(t, configuration, "\n  sandbox = \"registry.k8s.io/pause:3.10\"\n", "the kubelet could remove another sandbox image")
			assert.Contains(t, configuration, "\n  SystemdCgroup = true\n", "the kubelet would manage cgroups in another way")
			assert.NotContains(t, configuration, "disabled_plugins", "upstream's package disables the plugin that the kubelet uses")
		})
	}
}

// The first boot installs packages and writes files too, so nothing may be installed before cloud-init has finished.
func TestPrepareWaitsForCloudInit(t *testing.T) {
	for status, fails := range map[string]bool{"0": false, "1": true, "2": false} { // 2: it finished with warnings
		c := testHost{t, t.TempDir()}
		c.command("cloud-init", "echo \"cloud-init $*\"; exit "+status)
		c.command("timeout", `"${@:2}" >&3`)
		text, err := scriptText("prepare")
		require.NoError(t, err)
		text = strings.NewReplacer("/run/eco2.", c.dir+"/scratch.", `main "$@"; exit`,
			"node=node; exec 3>&1\nawait_cloud_init; echo finished; exit").Replace(text)
		cmd := exec.CommandContext(t.Context(), "bash", "-s")
		cmd.Env = append(os.Environ(), "PATH="+c.dir+"/bin:"+os.Getenv("PATH"))
		cmd.Stdin = strings.NewReader(text)
		printed, err := cmd.Output()
		assert.Equal(t, fails, err != nil, "cloud-init exits with %s", status)
		want := "cloud-init status --wait\n"
		if !fails {
			want += "finished\n"
		}
		assert.Equal(t, want, string(printed))
	}
}
