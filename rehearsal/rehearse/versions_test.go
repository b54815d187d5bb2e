package rehearse

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/calico"
)

// The program's default versions are in another module, which this one does not import, so they are repeated here. The
// mirror must have the same ones.
func TestTheMirrorHasTheProgramsDefaultVersions(t *testing.T) {
	versions := readFile(t, "../../config/versions.go")
	assert.Regexp(t, `Kubernetes:\s+"`+kubernetesVersion+`"`, versions)
	assert.Regexp(t, `Containerd:\s+"`+containerdVersion+`"`, versions)
	assert.Contains(t, versions, `"`+calico.URL+`"`)
}
