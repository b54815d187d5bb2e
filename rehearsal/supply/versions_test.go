package supply

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/calico"
)

// The program's default versions are in another module, which this one does not import, so they are repeated here. The
// mirror must have the same ones.
func TestTheMirrorHasTheProgramsDefaultVersions(t *testing.T) {
	data, err := os.ReadFile("../../config/versions.go")
	require.NoError(t, err)
	versions := string(data)
	assert.Regexp(t, `Kubernetes:\s+"`+kubernetesVersion+`"`, versions)
	assert.Regexp(t, `Containerd:\s+"`+containerdVersion+`"`, versions)
	assert.Contains(t, versions, `"`+calico.URL+`"`)
}
