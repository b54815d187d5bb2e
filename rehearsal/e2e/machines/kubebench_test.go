package machines

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/kubebench"
)

// passesBenchmark checks the control plane and a worker against the CIS Kubernetes Benchmark. All workers are set up in
// the same way.
func (c *cluster) passesBenchmark(t *testing.T) {
	t.Helper()
	tool, err := kubebench.Build(t.Context(), c.Options.Repo, os.Stderr)
	require.NoError(t, err)
	machines := c.machines()
	for _, checked := range []struct {
		node string
		role kubebench.Role
	}{{"k8s-master", kubebench.ControlPlane}, {"k8s-redis", kubebench.Worker}} {
		require.Contains(t, machines, checked.node)
		result, err := tool.Check(t.Context(), machines[checked.node], checked.role)
		require.NoError(t, err, checked.node)
		var printed strings.Builder
		require.NoError(t, result.Print(&printed))
		t.Log(printed.String())
		assert.NoError(t, result.Err())
	}
}
