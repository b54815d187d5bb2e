package mirror

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// The rehearsal builds the versions that the program installs by default.
func TestPinsAreTheProgramsDefaults(t *testing.T) {
	v := config.DefaultVersions
	for p, version := range map[*project]string{&kubernetes: v.Kubernetes, &kubernetesE2E: v.Kubernetes, &containerd: v.Containerd} {
		assert.NoError(t, p.checkVersion(version, "build"))
	}
	assert.EqualError(t, kubernetes.checkVersion("1.2.3", "build"), "the rehearsal builds kubernetes 1.36.4, but the stack requires 1.2.3; "+
		"set the former in eco2:versions, or pin the latter in rehearsal/supply/mirror/build/kubernetes")
}

func TestEachProjectIsPinned(t *testing.T) {
	for _, p := range slices.Concat(clusterProjects, platformProjects, testProjects) {
		version, err := p.version("build")
		require.NoError(t, err)
		// A release, or a commit, for a release whose tag is not a version of the module.
		assert.Regexp(t, `^v\d+\.\d+\.\d+(-\d{14}-[0-9a-f]{12})?$`, version, p.name)
	}
	_, err := project{name: "etcd", module: "example.com/other"}.version("build")
	assert.ErrorContains(t, err, "does not require example.com/other")
}

// The number of builds that are left is known before the first.
func TestMissing(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	all, err := Missing("../../..")
	require.NoError(t, err)
	assert.Greater(t, all, 30)
	version, err := etcd.version("build")
	require.NoError(t, err)
	require.NoError(t, writeFile(filepath.Join(cache, "eco2", "etcd-"+version, "etcd"), nil))
	left, err := Missing("../../..")
	require.NoError(t, err)
	assert.Equal(t, all-1, left)
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
