package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/authority"
)

// Go's programs trust the certificates in SSL_CERT_DIR in addition to the host's, which is how the engine's plugins
// trust the mirror. They read it once, so this test is the only one in this package that verifies certificates.
func TestEachNameHasItsService(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	trusted, err := authority.Open()
	require.NoError(t, err)
	t.Setenv("SSL_CERT_DIR", trusted.Dir())
	service := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	}
	outside := internet{address: "127.0.0.1", authority: trusted}
	server := httptest.NewUnstartedServer(outside.byName(service("mirror"), service("git"), service("api")))
	server.TLS = &tls.Config{GetCertificate: outside.certificate}
	server.Listener = tls.NewListener(server.Listener, server.TLS)
	server.Start()
	t.Cleanup(server.Close)

	for host, want := range map[string]string{
		"127.0.0.1": "mirror", "git.eco2.example": "git", "route53.amazonaws.com": "api", "ec2.eu-central-1.amazonaws.com": "api",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+server.Listener.Addr().String(), nil)
		require.NoError(t, err)
		request.Host = host
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: host}}}
		response, err := client.Do(request)
		require.NoError(t, err, host)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err, host)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, want, string(body), host)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: "example.com"}}}
	_, err = client.Get("https://" + server.Listener.Addr().String()) //nolint:bodyclose // there is no response
	require.Error(t, err)
}
