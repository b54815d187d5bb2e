package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/mirror"
)

// preparation runs the program's prepare.sh on a machine.
type preparation struct {
	*lab
	machine aws.Instance
	args    string
	runs    int
}

// newPreparation returns a machine with the script and with a mirror that has the packages that the script installs.
func newPreparation(t *testing.T) *preparation {
	t.Helper()
	needs.Machines(t)
	repo, err := filepath.Abs("../../..")
	require.NoError(t, err)
	versions := config.DefaultVersions
	m, err := mirror.Create(t.Context(), repo, versions, os.Stderr)
	require.NoError(t, err)
	t.Setenv(setup.MirrorEnv, m.Dir)
	l := newLab(t)
	p := &preparation{lab: l, machine: l.machine("node"), args: fmt.Sprintf(
		"--node node --kubernetes-version %s --containerd-version %s --pause-version 3.10 --kubernetes-key %s --docker-key %s "+
			"--files-mirror https://%s/files --images-mirror https://%s",
		versions.Kubernetes, versions.Containerd, m.Keys["kubernetes"], m.Keys["docker"], setup.MirrorAddress, setup.MirrorAddress)}
	var script strings.Builder
	for _, name := range []string{"lib", "prepare"} {
		text, err := os.ReadFile("../../../cluster/scripts/" + name + ".sh")
		require.NoError(t, err)
		script.Write(text)
	}
	p.file("/root/prepare.sh", script.String())
	return p
}

func (p *preparation) file(path, content string) {
	p.Helper()
	p.says(p.machine, "cat >%s <<'END-OF-FILE'\n%s\nEND-OF-FILE", path, content)
}

// start starts a run in the background and returns the name of its unit.
func (p *preparation) start() string {
	p.Helper()
	p.runs++
	unit := fmt.Sprintf("prepare-%d", p.runs)
	p.says(p.machine, "systemd-run --quiet --unit=%s --property=StandardError=file:/root/%s.log --remain-after-exit bash /root/prepare.sh %s", unit, unit, p.args)
	return unit
}

func (p *preparation) log(unit string) string {
	p.Helper()
	output, _ := p.in(p.machine, "cat /root/%s.log", unit)
	return output
}

func (p *preparation) await(what string, condition func() bool) {
	p.Helper()
	require.Eventually(p, condition, 3*time.Minute, 300*time.Millisecond, what)
}

// awaitSuccess waits until a run has succeeded, and returns its log.
func (p *preparation) awaitSuccess(unit string) string {
	p.Helper()
	var state string
	p.await(unit+" exits", func() bool {
		state = p.says(p.machine, "systemctl show --property=SubState --value %s", unit)
		return state != "running"
	})
	output := p.log(unit)
	require.Equal(p, "exited", state, output)
	return output
}

// hold takes a lock as apt does, until release is called.
func (p *preparation) hold(path string) (release func()) {
	p.Helper()
	p.says(p.machine, `systemd-run --quiet --unit=holder --property=Type=notify --property=NotifyAccess=all perl -e '
		use Fcntl; open(F, ">>", $ARGV[0]) or die; my $lock = pack("s s l! l! i", F_WRLCK, 0, 0, 0, 0);
		fcntl(F, F_SETLK, $lock) or die; system("systemd-notify --ready"); sleep 600' %s`, path)
	return func() { p.says(p.machine, "systemctl stop holder") }
}

// Other processes use apt while a new machine boots, and runs are interrupted. The next run must still succeed.
func TestAptWaitsForItsLocks(t *testing.T) {
	p := newPreparation(t)
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}
	run("dpkg is killed half-way", func(t *testing.T) {
		// This systemctl blocks when a package's script calls it. It is in /usr/sbin, because apt's PATH for dpkg
		// begins with that and does not have /usr/local.
		p.file("/usr/sbin/systemctl", "#!/bin/bash\n[[ $(ps -o args= $PPID) != *.postinst* ]] || { touch /root/reached; sleep 600; }\nexec /usr/bin/systemctl \"$@\"")
		p.says(p.machine, "chmod 755 /usr/sbin/systemctl")
		unit := p.start()
		p.await("dpkg runs a package's script", func() bool {
			_, exit := p.in(p.machine, "[ -e /root/reached ]")
			return exit == 0
		})
		p.says(p.machine, "/usr/bin/systemctl kill --signal=KILL %s; rm /usr/sbin/systemctl", unit)
		p.await("the run has failed", func() bool {
			return p.says(p.machine, "systemctl show --property=SubState --value %s", unit) == "failed"
		})
		_, exit := p.in(p.machine, "apt-get --assume-yes install cri-tools")
		require.NotZero(t, exit, "dpkg was not interrupted half-way")
		p.awaitSuccess(p.start())
	})
	run("the newest revision of each package is installed", func(t *testing.T) {
		for name, revision := range map[string]string{"kubelet": "-2.1", "kubeadm": "-2.1", "kubectl": "-1.1", "containerd.io": "-2~debian.12~bookworm"} {
			assert.Regexp(t, regexp.QuoteMeta(revision)+"$", p.says(p.machine, "dpkg-query --show --showformat='${Version}' %s", name), name)
		}
	})
	run("an installed older revision is kept", func(t *testing.T) {
		p.says(p.machine, "apt-get --assume-yes --allow-downgrades --allow-change-held-packages install kubelet=\\*-1.1 && apt-mark hold kubelet")
		p.awaitSuccess(p.start())
		assert.Regexp(t, `-1\.1$`, p.says(p.machine, "dpkg-query --show --showformat='${Version}' kubelet"))
	})
	for lock, path := range map[string]string{
		"dpkg's lock": "/var/lib/dpkg/lock-frontend", "the lock of the lists": "/var/lib/apt/lists/lock", "the lock of the archives": "/var/cache/apt/archives/lock",
	} {
		run("another process holds "+lock+" during an install", func(t *testing.T) {
			p.says(p.machine, "dpkg --purge --force-hold kubectl")
			release := p.hold(path)
			unit := p.start()
			p.await("it logs what it waits for", func() bool { return strings.Contains(p.log(unit), " has to wait: ") })
			release()
			assert.Regexp(t, `installing packages on node has to wait: .*lock`, p.awaitSuccess(unit))
			assert.Contains(t, p.says(p.machine, "apt-mark showhold"), "kubectl")
		})
	}
	run("another process holds dpkg's lock when everything is installed but not on hold", func(t *testing.T) {
		p.says(p.machine, "apt-mark unhold kubectl")
		release := p.hold("/var/lib/dpkg/lock-frontend")
		unit := p.start()
		p.await("it logs what it waits for", func() bool { return strings.Contains(p.log(unit), " has to wait: ") })
		release()
		p.awaitSuccess(unit)
		assert.Contains(t, p.says(p.machine, "apt-mark showhold"), "kubectl")
	})
	run("an unavailable version fails at once, with apt's message", func(t *testing.T) {
		args := p.args
		p.args = strings.Replace(args, "--containerd-version 2", "--containerd-version 1", 1)
		require.NotEqual(t, args, p.args)
		unit := p.start()
		p.args = args
		p.await("it fails", func() bool {
			return p.says(p.machine, "systemctl show --property=SubState --value %s", unit) == "failed"
		})
		assert.Regexp(t, `E: Version '1\..*' for 'containerd.io' was not found`, p.log(unit))
		assert.NotContains(t, p.log(unit), "has to wait")
	})
	run("a repository that another key signed fails at once", func(t *testing.T) {
		p.says(p.machine, "dpkg --purge --force-hold kubectl")
		args := p.args
		p.args = regexp.MustCompile(`--kubernetes-key \w+`).ReplaceAllString(args, "--kubernetes-key "+strings.Repeat("0", 40))
		require.NotEqual(t, args, p.args)
		unit := p.start()
		p.args = args
		p.await("it fails", func() bool {
			return p.says(p.machine, "systemctl show --property=SubState --value %s", unit) == "failed"
		})
		assert.Regexp(t, `GPG error: \S+/pkgs\.k8s\.io/.*GOODSIG`, p.log(unit))
		assert.Contains(t, p.log(unit), "error: apt on node does not accept the signature of a package repository")
		assert.NotContains(t, p.log(unit), "has to wait")
		p.awaitSuccess(p.start())
	})
	run("containerd is restarted only if it is older than its configuration", func(t *testing.T) {
		process := func() string { return p.says(p.machine, "systemctl show --property=MainPID --value containerd") }
		before := process()
		p.awaitSuccess(p.start())
		assert.Equal(t, before, process())
		p.says(p.machine, "touch /etc/containerd/config.toml") // as if a run stopped before the restart
		p.awaitSuccess(p.start())
		after := process()
		assert.NotEqual(t, before, after)
		p.awaitSuccess(p.start())
		assert.Equal(t, after, process())
	})
}
