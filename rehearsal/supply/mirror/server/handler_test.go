package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/mirror/server"
)

// This path has the special characters of upstream's URLs, which must be preserved: colons, tildes, plus signs.
const release = "pkgs.example/core:/stable:/v1.36/deb/a_1+b~c.deb"

func serve(t *testing.T) (dir server.Dir, url string) {
	dir = server.Dir(t.TempDir())
	s := httptest.NewServer(server.Handler(string(dir)))
	t.Cleanup(s.Close)
	return dir, s.URL
}

func write(t *testing.T, path, content string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func get(t *testing.T, url string) (status int, body string, header http.Header) {
	response, err := http.Get(url)
	require.NoError(t, err)
	data, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode, string(data), response.Header
}

func TestFiles(t *testing.T) {
	dir, url := serve(t)
	write(t, dir.File("https://"+release), "a package")
	write(t, filepath.Join(string(dir), "secret"), "not for machines")

	status, body, _ := get(t, url+"/files/"+release)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "a package", body)

	for _, missing := range []string{"pkgs.example/other", "pkgs.example/core:", "..%2Fsecret", ""} {
		status, body, _ := get(t, url+"/files/"+missing)
		assert.Equal(t, http.StatusNotFound, status, missing)
		assert.Contains(t, body, "the mirror has no https://", missing)
	}
	_, body, _ = get(t, url+"/files/pkgs.example/other")
	assert.Equal(t, "the mirror has no https://pkgs.example/other\n", body)
}

func TestImagesAreServedByTheirRegistry(t *testing.T) {
	dir, url := serve(t)
	write(t, dir.Tag("registry.example/group/app", "v1"), "sha256:aa")
	write(t, dir.Blob("sha256:aa"), "{}")

	status, _, _ := get(t, url+"/v2/")
	assert.Equal(t, http.StatusOK, status)

	for _, path := range []string{
		"group/app/manifests/v1?ns=registry.example", "group/app/manifests/sha256:aa?ns=registry.example",
		"registry.example/group/app/manifests/v1",
	} {
		status, body, header := get(t, url+"/v2/"+path)
		assert.Equal(t, http.StatusOK, status, path)
		assert.Equal(t, "{}", body, path)
		assert.Equal(t, "sha256:aa", header.Get("Docker-Content-Digest"), path)
		assert.Equal(t, "application/vnd.oci.image.manifest.v1+json", header.Get("Content-Type"), path)
	}
	for path, message := range map[string]string{
		"group/app/manifests/v1?ns=other.example":           "the mirror has no manifest v1 of the image other.example/group/app",
		"group/app/manifests/v2?ns=registry.example":        "the mirror has no manifest v2 of the image registry.example/group/app",
		"group/app/blobs/sha256:bb?ns=registry.example":     "the mirror has no blob sha256:bb of the image registry.example/group/app",
		"group/app/manifests/v1?ns=..%2F..%2Fblobs":         "the mirror has no manifest v1 of the image ../../blobs/group/app",
		"group/app/tags/list?ns=registry.example":           "the mirror has no tag list of the image registry.example/group/app",
		"group/app/blobs/..%2F..%2Ftags?ns=registry.exampl": "the mirror has no",
	} {
		status, body, _ := get(t, url+"/v2/"+path)
		assert.Equal(t, http.StatusNotFound, status, path)
		assert.Contains(t, body, message, path)
	}
}
