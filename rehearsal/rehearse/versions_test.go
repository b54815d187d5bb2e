package rehearse

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"eco2/rehearsal/calico"
)

// The program's versions are in another module, which this one does not import: another default there is
// another mirror here.
func TestTheMirrorHasWhatTheProgramInstalls(t *testing.T) {
	versions := readFile(t, "../../config/versions.go")
	assert.Regexp(t, `Kubernetes:\s+"`+kubernetesVersion+`"`, versions)
	assert.Regexp(t, `Containerd:\s+"`+containerdVersion+`"`, versions)
	assert.Contains(t, versions, `"`+calico.URL+`"`)
}
