package machines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/conformance"
)

// conforms runs the quick suite of Kubernetes' own tests on the nodes that have no taint.
func (c *cluster) conforms(t *testing.T) {
	t.Helper()
	tests, err := conformance.AddImages(t.Context(), c.mirror, c.Options.Repo, os.Stderr)
	require.NoError(t, err)
	suite, err := conformance.SuiteNamed("quick")
	require.NoError(t, err)
	before := c.awaitReady(len(c.machines()), time.Minute)
	result, err := conformance.Run{
		Tests: tests, Suite: suite, Kubectl: c.binary, Kubeconfig: c.config, Procs: 4,
		Dir: filepath.Join(c.Dir, "conformance"), Out: os.Stderr,
	}.Start(t.Context())
	var printed strings.Builder
	assert.NoError(t, result.Print(&printed))
	t.Log(printed.String())
	require.NoError(t, err)
	require.NoError(t, result.Err())
	assert.Empty(t, result.Skipped, "two nodes have no taint, for the tests that need two")
	c.same(t, before, nil)
}
