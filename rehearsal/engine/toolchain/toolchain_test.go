package toolchain

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSatisfies(t *testing.T) {
	for version, want := range map[string]bool{
		"v3.250.0": true, "v3.251.1": true, "3.250.0": true, "v3.250.1-alpha.2": true,
		"v3.249.9": false, "v4.0.0": false, "v2.999.0": false, "": false, "v3.250": false, "unknown": false,
	} {
		assert.Equal(t, want, satisfies(version, "v3.250.0"), version)
	}
}

// The engine is built in the version of the program's SDK: an older one may not support what the SDK requests.
func TestPulumiVersionIsTheSDKs(t *testing.T) {
	for _, file := range []string{"../../../go.mod", "../../go.mod", "pulumi/go.mod"} {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		module := "github.com/pulumi/pulumi/sdk/v3 "
		assert.Contains(t, string(data), module+PulumiVersion, file)
	}
}

// The stand-ins are installed in the versions that the program's SDKs request.
func TestPluginVersionsAreTheSDKs(t *testing.T) {
	versions, err := sdkVersions("../../../go.mod")
	require.NoError(t, err)
	assert.Equal(t, plugins, versions)
}

func TestBuildReportsTheCompilersErrors(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module broken\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o600))
	output := filepath.Join(dir, "out", "broken")
	err := Compile(t.Context(), &bytes.Buffer{}, Target{What: "the broken thing", Dir: dir, Output: output, Packages: []string{"."}})
	require.Error(t, err)
	assert.True(t, strings.HasPrefix(err.Error(), "building the broken thing: exit status 1"), err)
	assert.Contains(t, err.Error(), "undefined: missing")
	assert.NoFileExists(t, output, "a failed build must not leave its output")
}

func TestErrorsDoNotListDownloads(t *testing.T) {
	assert.Equal(t, "\n  # broken\n  ./main.go:3:15: undefined: missing",
		WithoutDownloads("go: downloading example.com/a v1.0.0\ngo: downloading example.com/b v1.0.0\n# broken\n./main.go:3:15: undefined: missing\n"))
}

// Two checkouts may build the same tool into the cache at the same time, and must not use each other's incomplete file.
func TestOneToolCanBeBuiltConcurrently(t *testing.T) {
	module := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(module, "go.mod"), []byte("module example.com/tool\n\ngo 1.26\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(module, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600))
	cache := t.TempDir()
	target := Target{What: "a tool", Dir: module, Output: filepath.Join(cache, "tool"), Packages: []string{"."}}
	results := make(chan error)
	const builds = 8
	for range builds {
		go func() { results <- Compile(t.Context(), io.Discard, target) }()
	}
	for range builds {
		assert.NoError(t, <-results)
	}
	files, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Len(t, files, 1, "a build leaves nothing else")
	assert.Equal(t, "tool", files[0].Name())
	assert.NoError(t, exec.CommandContext(t.Context(), target.Output).Run())

	require.NoError(t, Compile(t.Context(), io.Discard, target), "again, with nothing to do")
	assert.NoError(t, exec.CommandContext(t.Context(), target.Output).Run())
}
