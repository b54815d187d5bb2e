package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// The rehearsal builds the versions that the program installs by default, and those from which a test upgrades.
func TestPinsAreTheProgramsDefaults(t *testing.T) {
	p := pins{modules: "build", cache: t.TempDir()}
	for _, v := range []config.Versions{config.DefaultVersions, UpgradeFrom} {
		for of, version := range map[*project]string{&kubernetes: v.Kubernetes, &containerd: v.Containerd} {
			dir, err := p.module(t.Context(), *of, version)
			require.NoError(t, err)
			pinned, err := of.version(dir)
			require.NoError(t, err)
			assert.Equal(t, "v"+version, pinned, dir)
		}
	}
	e2e, err := kubernetesE2E.version(filepath.Join("build", kubernetesE2E.name))
	require.NoError(t, err)
	assert.Equal(t, "v"+config.DefaultVersions.Kubernetes, e2e)
}

func TestEachProjectIsPinned(t *testing.T) {
	for _, p := range slices.Concat(clusterProjects, platformProjects, testProjects) {
		version, err := p.version(filepath.Join("build", p.name))
		require.NoError(t, err)
		// A release, or a commit, for a release whose tag is not a version of the module.
		assert.Regexp(t, `^v\d+\.\d+\.\d+(-\d{14}-[0-9a-f]{12})?$`, version, p.name)
	}
	_, err := project{name: "etcd", module: "example.com/other"}.version("build/etcd")
	assert.ErrorContains(t, err, "does not require example.com/other")
}

// The number of builds that are left is known before the first.
func TestMissing(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	all, err := Missing("../../..")
	require.NoError(t, err)
	assert.Greater(t, all, 30)
	version, err := etcd.version("build/etcd")
	require.NoError(t, err)
	require.NoError(t, writeFile(filepath.Join(cache, "eco2", "etcd-"+version, "etcd"), nil))
	left, err := Missing("../../..")
	require.NoError(t, err)
	assert.Equal(t, all-1, left)

	left, err = Missing("../../..", config.DefaultVersions, config.Versions{Kubernetes: "1.99.1", Containerd: config.DefaultVersions.Containerd})
	require.NoError(t, err)
	assert.Equal(t, all-1+len(kubernetes.packages), left, "each binary counts once")
}

// Mirrors of the same versions are the same, in whatever order they are asked for.
func TestDirectoryNamesAllVersions(t *testing.T) {
	newer, older := config.Versions{Kubernetes: "1.37.2", Containerd: "2.3.7"}, config.Versions{Kubernetes: "1.36.5", Containerd: "2.3.7"}
	one, both := fmt.Sprintf("mirror-%d-kubernetes-1.36.5-containerd-2.3.7", recipe), fmt.Sprintf("mirror-%d-kubernetes-1.36.5-1.37.2-containerd-2.3.7", recipe)
	assert.Equal(t, one, directory([]config.Versions{older}))
	assert.Equal(t, one, directory([]config.Versions{older, older}))
	for _, all := range [][]config.Versions{{newer, older}, {older, newer}} {
		assert.Equal(t, both, directory(all))
	}
}

func TestAddFileReplacesTheWholeFile(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	for _, content := range []string{"a long manifest", "short"} {
		require.NoError(t, m.AddFile("https://raw.example/v1/calico.yaml", []byte(content)))
		data, err := os.ReadFile(filepath.Join(m.Dir, "files", "raw.example", "v1", "calico.yaml"))
		require.NoError(t, err)
		assert.Equal(t, content, string(data))
	}
}
