package mirror

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/mirror/mirrortest"
)

func program(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o755))
	return path
}

func TestPulledImageMatchesItsDescription(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	description := Image{
		Name:       "quay.example/calico/node:v1",
		Files:      map[string]string{"/usr/local/bin/node": program(t, "node"), "/bin/ctl": program(t, "ctl")},
		Links:      map[string]string{"/bin/alias": "ctl"},
		Entrypoint: []string{"/usr/local/bin/node", "run"},
		User:       "65535",
	}
	require.NoError(t, m.AddImage(t.Context(), description, io.Discard))

	image, err := mirrortest.Pull(t, m.Dir, "quay.example/calico/node:v1")
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, "linux", config.OS)
	assert.Equal(t, description.Entrypoint, config.Config.Entrypoint)
	assert.Equal(t, "65535", config.Config.User)

	contents := map[string]string{}
	flat := mutate.Extract(image)
	defer func() { assert.NoError(t, flat.Close()) }()
	for archive := tar.NewReader(flat); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		contents[header.Name] = string(data) + header.Linkname
		assert.Equal(t, int64(0o755), header.Mode, header.Name)
	}
	assert.Equal(t, map[string]string{"usr/local/bin/node": "node", "bin/ctl": "ctl", "bin/alias": "ctl"}, contents)

	_, err = mirrortest.Pull(t, m.Dir, "docker.example/calico/node:v1")
	assert.ErrorContains(t, err, "the mirror has no manifest v1 of the image docker.example/calico/node")
}

func TestImageHasSetuidFilesAndWritableFolders(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	require.NoError(t, m.AddImage(t.Context(), Image{
		Name: "quay.example/some/tool:v1", Setuid: map[string]string{"/bin/tool": program(t, "tool")}, Folders: []string{"/tmp"}, Args: []string{"tool"},
	}, io.Discard))
	image, err := mirrortest.Pull(t, m.Dir, "quay.example/some/tool:v1")
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Empty(t, config.Config.Entrypoint)
	assert.Equal(t, []string{"tool"}, config.Config.Cmd)
	dir := mirrortest.Unpack(t, image)
	for name, mode := range map[string]os.FileMode{"bin/tool": 0o755 | os.ModeSetuid, "tmp": 0o777 | os.ModeSticky | os.ModeDir} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), name)
	}
}

// If a rebuild of the same files changed the image, nodes would pull it again, and pods of one tag would run different
// images.
func TestSameFilesMakeTheSameImage(t *testing.T) {
	digest := func(content string) string {
		m := Mirror{Dir: t.TempDir()}
		require.NoError(t, m.AddImage(t.Context(), Image{
			Name: "quay.example/a/b:v1", Files: map[string]string{"/b": program(t, content), "/a": program(t, "a")},
		}, io.Discard))
		image, err := mirrortest.Pull(t, m.Dir, "quay.example/a/b:v1")
		require.NoError(t, err)
		d, err := image.Digest()
		require.NoError(t, err)
		return d.String()
	}
	assert.Equal(t, digest("b"), digest("b"))
	assert.NotEqual(t, digest("b"), digest("c"))
}

func TestImageReplacesOneOfTheSameName(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	for _, content := range []string{"old", "new"} {
		require.NoError(t, m.AddImage(t.Context(), Image{
			Name: "docker.io/a/b:v1", Files: map[string]string{"/b": program(t, content)},
		}, io.Discard))
		image, err := mirrortest.Pull(t, m.Dir, "docker.io/a/b:v1")
		require.NoError(t, err)
		layers, err := image.Layers()
		require.NoError(t, err)
		packed, err := layers[0].Uncompressed()
		require.NoError(t, err)
		archive := tar.NewReader(packed)
		_, err = archive.Next()
		require.NoError(t, err)
		data, err := io.ReadAll(archive)
		require.NoError(t, err)
		assert.Equal(t, content, string(data))
	}
}

func TestImageNeedsAFullName(t *testing.T) {
	err := Mirror{Dir: t.TempDir()}.AddImage(t.Context(), Image{Name: "calico/node"}, io.Discard)
	assert.ErrorContains(t, err, "calico/node")
}

// A missing library is an error when the image is built, not when its container starts.
func TestImageNeedsItsLibraries(t *testing.T) {
	m := Mirror{Dir: t.TempDir()}
	add := func(packages ...string) error {
		return m.AddImage(t.Context(), Image{Name: "a.example/shell:v1", Debian: packages}, io.Discard)
	}
	assert.ErrorContains(t, add("dash"), "its Debian packages lack libc.so.6 for /bin/dash")
	assert.NoError(t, add("dash", "libc6"))
}
