package conformance

import (
	"cmp"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/progress"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/mirror/mirrortest"
)

// Every image that a test may ask for is served, or named with the reason why it is not.
func TestEachImageIsServedOrNamed(t *testing.T) {
	tests, err := Find("../../..")
	needs.Built(t, err)
	asked, err := tests.imageNames(t.Context())
	require.NoError(t, err)
	require.Contains(t, asked, agnhost)

	served := map[string]bool{}
	for _, image := range Images() {
		served[image.Name] = true
		assert.Contains(t, asked, image.Name, "it is served, and no test asks for it")
	}
	for _, name := range asked {
		ours := served[name]
		_, named := unserved[name]
		kubeadms := strings.HasPrefix(name, "registry.k8s.io/pause:") || strings.HasPrefix(name, "registry.k8s.io/etcd:")
		drivers := strings.HasPrefix(name, storageDrivers) || strings.HasPrefix(name, cloudDrivers)
		assert.True(t, ours || named || kubeadms || drivers, "%s is neither served nor named", name)
		assert.False(t, ours && named, "%s is served, and named as one that is not", name)
	}
	for name := range unserved {
		assert.Contains(t, asked, name, "it is named, and no test asks for it")
	}
}

func TestTheListIsWhatIsMade(t *testing.T) {
	made := map[string]bool{}
	for _, image := range described(t) {
		made[image.Name] = true
	}
	assert.Len(t, made, len(Images()))
	for _, image := range Images() {
		assert.True(t, made[image.Name], image.Name)
	}
}

// described are the images without their programs, which the source does not have.
func described(t *testing.T) []mirror.Image {
	t.Helper()
	source, err := mirror.Source(t.Context(), "../../..", project)
	require.NoError(t, err)
	all, err := images(func(name string) string { return name }, "coredns", source)
	require.NoError(t, err)
	return all
}

func TestImagesThatAreServedAreNotMadeAgain(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(program, nil, 0o755))
	m := mirror.Mirror{Dir: t.TempDir()}
	all := []mirror.Image{{Name: "registry.example/some/a:1", Files: map[string]string{"/a": program}}}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer func() { assert.NoError(t, log.Close()) }()
	made := func() int {
		require.NoError(t, addImages(t.Context(), m, all, progress.New(log, true)))
		lines, err := os.ReadFile(log.Name())
		require.NoError(t, err)
		return strings.Count(string(lines), "making the image registry.example/some/a:1\n")
	}
	assert.Equal(t, 1, made())
	assert.Equal(t, 1, made(), "it is served already")
	all[0].User = "1"
	assert.Equal(t, 2, made(), "an image of another description is made")
}

// container is the file system of an image, as a pod has it.
type container struct {
	t      *testing.T
	dir    string
	config v1.Config
}

// start unpacks one of the images that AddImages has made.
func start(t *testing.T, m mirror.Mirror, name string) container {
	t.Helper()
	image, err := mirrortest.Pull(t, m.Dir, name)
	require.NoError(t, err)
	file, err := image.ConfigFile()
	require.NoError(t, err)
	c := container{t: t, dir: mirrortest.Unpack(t, image), config: file.Config}
	require.NoError(t, os.Chmod(c.dir, 0o755))
	// What a container runtime adds.
	require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "dev"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "dev", "null"), nil, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "etc", "hosts"), []byte("127.0.0.1 here\n"), 0o644))
	return c
}

func (c container) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", c.config.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.dir, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (c container) sh(script string) string {
	c.t.Helper()
	out, err := c.command("/bin/sh", "-c", script).CombinedOutput()
	assert.NoError(c.t, err, "%s\n%s", script, out)
	return strings.TrimSpace(string(out))
}

// What upstream's tests call in these containers is there, and is of whom they expect.
func TestTheImagesRun(t *testing.T) {
	needs.Root(t, "enter an image's files")
	needs.Long(t)
	tests, err := Find("../../..")
	needs.Built(t, err)
	m := mirror.Mirror{Dir: t.TempDir()}
	_, err = AddImages(t.Context(), m, "../../..", os.Stderr)
	require.NoError(t, err)
	require.FileExists(t, tests.ginkgo)

	for _, name := range []string{agnhost, agnhostPrev, kitten} {
		c := start(t, m, name)
		assert.Contains(t, c.sh("/agnhost --help"), "netexec")
		assert.Contains(t, c.sh("nc -h 2>&1"), "OpenBSD netcat")
		assert.Contains(t, c.sh("curl --version && dig -v 2>&1 && ss -V && ip -V && iperf -v 2>&1; true"), "iperf version 2")
		assert.Contains(t, c.sh("/coredns -version"), "CoreDNS-1.")
		assert.Equal(t, "127.0.0.1       here", c.sh("getent hosts here"))
		assert.Equal(t, "OK", c.sh(`[[ a == a ]] && echo OK | sed s/x// | timeout 5 cat`))
		assert.Equal(t, "1000 50000", c.sh("id -G user-defined-in-image"))
		assert.Equal(t, "1777", c.sh("stat -c %a /tmp"))
		assert.Equal(t, "ok", c.sh("/agnhost-2 entrypoint-tester >/dev/null && echo ok > /uploads/a && cat /uploads/a"))
		assert.Equal(t, []string{"/agnhost"}, c.config.Entrypoint)
	}
	for name, user := range map[string]string{busybox: "", nonRoot: "1234"} {
		c := start(t, m, name)
		assert.Empty(t, c.config.Entrypoint)
		assert.Equal(t, user, c.config.User)
		for _, applet := range applets {
			assert.FileExists(t, filepath.Join(c.dir, "bin", "busybox"))
			target, err := os.Readlink(filepath.Join(c.dir, "bin", applet))
			assert.NoError(t, err)
			assert.Equal(t, cmp.Or(map[string]string{busybox + " sh": "bash"}[name+" "+applet], "busybox"), target)
		}
		known := "\n" + c.sh("busybox --list") + "\n"
		for _, applet := range applets {
			assert.Contains(t, known, "\n"+applet+"\n")
		}
		assert.Equal(t, "3", c.sh("echo $((1+2)) > /tmp/a && cat /tmp/a"))
	}
	env := start(t, m, busybox).command("/bin/sh", "-c", "env")
	env.Env = []string{"PATH=/bin", "data-1=value"}
	out, err := env.Output()
	require.NoError(t, err)
	assert.Contains(t, string(out), "data-1=value")
	dns := start(t, m, dnsTesting)
	assert.Equal(t, "127.0.0.1       here", dns.sh("getent hosts here"))
	assert.Contains(t, dns.sh("dig -v 2>&1; for i in `seq 1 2`; do echo $i; done"), "DiG 9")

	nnp := start(t, m, noNewPrivs)
	info, err := os.Stat(filepath.Join(nnp.dir, "usr", "local", "bin", "nnp"))
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSetuid, "without it, the test of it passes whatever the cluster does")

	assert.Contains(t, start(t, m, apiServer).sh("/sample-apiserver --help 2>&1"), "--etcd-servers")

	serves(t, start(t, m, nginx))
}

// serves checks that nginx answers, where this host has a port for it.
func serves(t *testing.T, web container) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	settings := filepath.Join(web.dir, "etc", "nginx", "nginx.conf")
	text, err := os.ReadFile(settings)
	require.NoError(t, err)
	require.Contains(t, string(text), "listen 80;")
	require.NoError(t, os.WriteFile(settings, []byte(strings.Replace(string(text), "listen 80;", "listen "+address+";", 1)), 0o644))
	for _, stream := range []string{"stdout", "stderr"} {
		require.NoError(t, os.WriteFile(filepath.Join(web.dir, "dev", stream), nil, 0o666))
	}

	server := web.command(web.config.Cmd...)
	require.NoError(t, server.Start())
	defer func() {
		// Killed, it would leave its workers.
		assert.NoError(t, server.Process.Signal(syscall.SIGTERM))
		assert.NoError(t, server.Wait())
	}()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		response, err := http.Get("http://" + address + "/")
		if assert.NoError(t, err) {
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.NoError(t, response.Body.Close())
		}
	}, 10*time.Second, 100*time.Millisecond)
}
