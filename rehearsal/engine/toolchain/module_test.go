package toolchain

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestModuleDirHasUpstreamsFiles(t *testing.T) {
	const module = "sigs.k8s.io/kustomize/kustomize/v5"
	pins := filepath.Join("..", "..", "supply", "mirror", "build", "kustomize")
	dir, err := ModuleDir(t.Context(), pins, module)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "main.go"))

	_, err = ModuleDir(t.Context(), pins, "example.com/none")
	assert.ErrorContains(t, err, "downloading the module example.com/none: ")
	assert.ErrorContains(t, err, "not a known dependency")
	_, err = ModuleDir(t.Context(), t.TempDir(), module)
	assert.ErrorContains(t, err, "downloading the module "+module)
}
