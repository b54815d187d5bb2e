// Package mirrortest pulls images from a mirror as a node does, for tests.
package mirrortest

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/mirror/server"
)

// registryTransport adds the name of the registry that a request is meant for, as containerd does for a mirror.
type registryTransport string

func (t registryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	query := r.URL.Query()
	query.Set("ns", string(t))
	r.URL.RawQuery = query.Encode()
	return http.DefaultTransport.RoundTrip(r)
}

// Pull pulls registry/repository:tag over plain HTTP from the mirror in dir.
func Pull(t testing.TB, dir, image string) (v1.Image, error) {
	t.Helper()
	s := httptest.NewServer(server.Handler(dir))
	t.Cleanup(s.Close)
	registry, rest, _ := strings.Cut(image, "/")
	reference, err := name.NewTag(strings.TrimPrefix(s.URL, "http://")+"/"+rest, name.Insecure)
	require.NoError(t, err)
	return remote.Image(reference, remote.WithTransport(registryTransport(registry)))
}

// Unpack extracts the image's files into a temporary directory of the test.
func Unpack(t testing.TB, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	files := mutate.Extract(image)
	defer func() { assert.NoError(t, files.Close()) }()
	tar := exec.CommandContext(t.Context(), "tar", "--extract", "--directory", dir)
	tar.Stdin = files
	out, err := tar.CombinedOutput()
	require.NoError(t, err, string(out))
	return dir
}
