package mirror

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"eco2/config"
)

// pinned writes a module that pins a version of a project.
func pinned(t *testing.T, dir string, p project, version string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	text := fmt.Sprintf("module example.com/pin\n\nrequire %s %s\n", p.module, version)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600))
}

func TestModulesOfTheCheckoutComeFirst(t *testing.T) {
	p := pins{modules: t.TempDir(), cache: t.TempDir(), derive: true, out: io.Discard}
	pinned(t, filepath.Join(p.modules, "kubernetes"), kubernetes, "v1.36.5")
	pinned(t, filepath.Join(p.modules, "kubernetes-1.36.4"), kubernetes, "v1.36.4")
	pinned(t, filepath.Join(p.cache, "modules", "kubernetes-1.36.4"), kubernetes, "v1.36.4")
	pinned(t, filepath.Join(p.cache, "modules", "kubernetes-1.37.2"), kubernetes, "v1.37.2")
	pinned(t, filepath.Join(p.modules, "cri-tools"), criTools, "v1.36.0")
	pinned(t, filepath.Join(p.cache, "modules", "cri-tools-1.37"), criTools, "v1.37.0")
	for _, test := range []struct {
		of           project
		version, dir string
	}{
		{kubernetes, "1.36.5", p.modules + "/kubernetes"},
		{kubernetes, "1.36.4", p.modules + "/kubernetes-1.36.4"},
		{kubernetes, "1.37.2", p.cache + "/modules/kubernetes-1.37.2"},
		{criTools, "1.36", p.modules + "/cri-tools"},
		{criTools, "1.37", p.cache + "/modules/cri-tools-1.37"},
	} {
		dir, err := p.module(t.Context(), test.of, test.version)
		require.NoError(t, err)
		assert.Equal(t, test.dir, dir)
	}
}

// The versions of a stack are not replaced by others silently, and are refused before anything is built.
func TestVersionsThatNoModulePinsAreRefused(t *testing.T) {
	p := pins{modules: t.TempDir(), cache: t.TempDir(), out: io.Discard}
	pinned(t, filepath.Join(p.modules, "kubernetes"), kubernetes, "v1.36.5")
	pinned(t, filepath.Join(p.modules, "kubernetes-1.36.4"), kubernetes, "v1.36.4")
	pinned(t, filepath.Join(p.modules, "kubernetes-e2e"), kubernetes, "v1.36.5")
	pinned(t, filepath.Join(p.modules, "containerd"), containerd, "v2.3.7")
	_, _, err := p.buildCluster(t.Context(), config.Versions{Kubernetes: "1.36.50", Containerd: "2.3"})
	assert.EqualError(t, err, "kubernetes 1.36.50 is required, but the rehearsal builds only 1.36.5 and 1.36.4; "+
		"pin it in rehearsal/supply/mirror/build/kubernetes, or set other versions in eco2:versions")
	_, _, err = p.buildCluster(t.Context(), config.Versions{Kubernetes: "1.36.4", Containerd: "2.3.4"})
	assert.EqualError(t, err, "containerd 2.3.4 is required, but the rehearsal builds only 2.3.7; "+
		"pin it in rehearsal/supply/mirror/build/containerd, or set other versions in eco2:versions")
	assert.NoDirExists(t, filepath.Join(p.cache, "modules"))
}

// A derived go.mod requires what upstream's own does. Modules that upstream replaces with its own directories are those
// that it publishes from them.
func TestDerive(t *testing.T) {
	const goMod = `module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
	example.com/a v1.2.3
	k8s.io/api v0.0.0
	k8s.io/kubelet v0.0.0 // indirect
	k8s.io/utils v0.0.0-20260210185600-b8788abfbbc2
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/kubelet => ./staging/src/k8s.io/kubelet
	k8s.io/sample-controller => ./staging/src/k8s.io/sample-controller
)
`
	parsed, err := modfile.ParseLax("go.mod", []byte(goMod), nil)
	require.NoError(t, err)
	upstream := upstreamModule{"v1.37.2", parsed}
	p := kubernetes
	p.packages = []command{{path: "cmd/kubeadm"}, {path: "cmd/kubelet"}}
	derived, err := p.derive(upstream)
	require.NoError(t, err)
	assert.Equal(t, `module eco2/rehearsal/supply/mirror/build/kubernetes

go 1.26.0

require (
	k8s.io/api v0.37.2
	k8s.io/kubelet v0.37.2
	k8s.io/kubernetes v1.37.2
)

tool (
	k8s.io/kubernetes/cmd/kubeadm
	k8s.io/kubernetes/cmd/kubelet
)
`, string(derived))

	_, err = etcd.derive(upstream)
	assert.EqualError(t, err, "go.etcd.io/etcd/server/v3 requires k8s.io/api without a version")
}

// A version that does not exist leaves nothing, so that the next run tries again.
func TestModuleThatCannotBeDerivedLeavesNothing(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs go")
	}
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	p := pins{modules: "build", cache: t.TempDir(), derive: true, out: io.Discard}
	_, err := p.module(t.Context(), containerd, "2.99.0")
	require.ErrorContains(t, err, "pinning what containerd 2.99.0 is built from: ")
	assert.ErrorContains(t, err, "; use a version that is released, or pin it in rehearsal/supply/mirror/build/containerd-2.99.0")
	left, err := os.ReadDir(filepath.Join(p.cache, "modules"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestUpgradeTo(t *testing.T) {
	v, err := UpgradeTo("1.36.9")
	require.NoError(t, err)
	assert.Equal(t, "1.36.9", v.Kubernetes)
	assert.Equal(t, config.DefaultVersions.Containerd, v.Containerd)
	_, err = UpgradeTo("v1.36.9")
	assert.EqualError(t, err, `upgrading to Kubernetes "v1.36.9": this is not a version such as `+config.DefaultVersions.Kubernetes)
	_, err = UpgradeTo("1.99.0")
	assert.EqualError(t, err, "upgrading to Kubernetes 1.99.0: the program does not support this minor version; "+
		"add it to the map kubernetes in config/versions.go")
}
