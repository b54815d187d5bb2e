package authority

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServersAreTrusted(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a, err := Open()
	require.NoError(t, err)
	certificate, err := a.Issue("git.eco2.example", "*.amazonaws.com", "100.64.0.1")
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)

	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(a.PEM())))
	get := func(name string, trusted *x509.CertPool) error {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: name}}}
		response, err := client.Get(server.URL)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	assert.NoError(t, get("git.eco2.example", pool))
	assert.NoError(t, get("route53.amazonaws.com", pool))
	assert.NoError(t, get("100.64.0.1", pool))
	assert.ErrorContains(t, get("100.64.0.2", pool), "not 100.64.0.2")
	assert.ErrorContains(t, get("example.com", pool), "not example.com")
	assert.ErrorContains(t, get("git.eco2.example", x509.NewCertPool()), "unknown authority")
}

func TestConcurrentOpensGetOneAuthority(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var group sync.WaitGroup
	texts := make([]string, 8)
	for i := range texts {
		group.Go(func() {
			a, err := Open()
			if assert.NoError(t, err) {
				texts[i] = a.PEM()
			}
		})
	}
	group.Wait()
	for _, text := range texts {
		assert.Equal(t, texts[0], text)
	}
	a, err := Open()
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(a.Dir(), keyFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	certificate, err := os.ReadFile(filepath.Join(a.Dir(), certificateFile))
	require.NoError(t, err)
	assert.Equal(t, a.PEM(), string(certificate), "the file that people hand to curl has the certificate alone")
	loaded, err := Load(a.Dir())
	require.NoError(t, err)
	assert.Equal(t, texts[0], loaded.PEM())
}

func TestExpiringAuthorityIsReplaced(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a, err := Open()
	require.NoError(t, err)
	// A certificate issued now would expire after it.
	a, err = create(a.Dir(), certificateLife-time.Minute)
	require.NoError(t, err)

	renewed, err := Open()
	require.NoError(t, err)
	assert.NotEqual(t, a.PEM(), renewed.PEM())
	assert.True(t, renewed.certificate.NotAfter.After(time.Now().Add(4*365*24*time.Hour)))

	for _, name := range []string{certificateFile, keyFile} {
		path := filepath.Join(a.Dir(), name)
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		_, err = Open()
		assert.ErrorContains(t, err, "remove it to get a new authority")
		require.NoError(t, os.Remove(path))
		_, err = Open()
		require.NoError(t, err)
	}
}

// Earlier versions stored the key after the certificate in one file. The authority stays the same.
func TestKeyIsMovedOutOfTheCertificatesFile(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a, err := Open()
	require.NoError(t, err)
	both, key := filepath.Join(a.Dir(), certificateFile), filepath.Join(a.Dir(), keyFile)
	certificate, err := os.ReadFile(both)
	require.NoError(t, err)
	private, err := os.ReadFile(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(both, append(certificate, private...), 0o600))
	require.NoError(t, os.Remove(key))

	opened, err := Open()
	require.NoError(t, err)
	assert.Equal(t, a.PEM(), opened.PEM())
	_, err = opened.Issue("git.eco2.example")
	require.NoError(t, err)
	for path, want := range map[string][]byte{both: certificate, key: private} {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(data))
	}
}
