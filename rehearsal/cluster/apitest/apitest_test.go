package apitest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var server *Server

func TestMain(m *testing.M) { Main(m, "../../..", &server) }

func TestServerIsReady(t *testing.T) {
	server.Need(t)
	client, err := server.Client()
	require.NoError(t, err)
	answer, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "ok", string(answer))
}

// A test that needs the server fails if the binaries are not built, and says what to do. Only -short skips it.
func TestNeedFailsWithoutTheBinaries(t *testing.T) {
	run := func(more ...string) (string, error) {
		again := exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.v", "-test.run=^TestServerIsReady$"}, more...)...)
		again.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
		output, err := again.CombinedOutput()
		return string(output), err
	}
	output, err := run()
	assert.Error(t, err)
	assert.Contains(t, output, "--- FAIL: TestServerIsReady")
	assert.Contains(t, output, "is not built yet; `make test` builds it")
	output, err = run("-test.short")
	assert.NoError(t, err)
	assert.Contains(t, output, "--- SKIP: TestServerIsReady")
	assert.Contains(t, output, "left out by -short")
}
