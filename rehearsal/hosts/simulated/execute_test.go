package simulated

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/kubectl"
	"eco2/rehearsal/cluster/provider"
)

func TestMain(m *testing.M) {
	if kubectl.Called() { // by a script under test
		kubectl.Main()
	}
	os.Exit(m.Run())
}

// sweep runs the program's script sweep.sh.
func (w *world) sweep(timeout string) result {
	w.Helper()
	var script strings.Builder
	for _, name := range []string{"lib", "sweep"} {
		data, err := os.ReadFile("../../../cluster/scripts/" + name + ".sh")
		require.NoError(w, err)
		script.Write(data)
	}
	return w.run(w.session(masterIP, "sudo bash -s -- --timeout "+timeout+" # sweep.sh@0a1b2c3d", script.String()))
}

func TestSweep(t *testing.T) {
	files := t.TempDir()
	t.Setenv("TMPDIR", files)
	w := newWorld(t)
	w.up()
	cluster, err := w.connect()
	require.NoError(t, err)
	for kind, spec := range map[string]map[string]any{
		"v1 Service lb":            {"type": "LoadBalancer"},
		"v1 Service internal":      {"type": "ClusterIP"},
		"v1 PersistentVolumeClaim": {}, "networking.k8s.io/v1 Ingress web": {},
	} {
		parts := append(strings.Fields(kind), "data")
		_, err := cluster.Apply(context.Background(), provider.Manifest{
			"apiVersion": parts[0], "kind": parts[1], "metadata": map[string]any{"name": parts[2], "namespace": "default"}, "spec": spec,
		}, provider.ApplyOptions{Manager: "test"})
		require.NoError(t, err)
	}
	out := w.must(w.sweep("60")).stderr
	for _, want := range []string{"deleting service default/lb", "deleting persistentvolumeclaim default/data", "deleting ingress default/web"} {
		assert.Contains(t, out, want)
	}
	assert.NotContains(t, out, "internal")
	_, err = cluster.Get(context.Background(), provider.Ref{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: "default", Name: "web"})
	require.ErrorIs(t, err, provider.ErrNotFound)
	left, err := filepath.Glob(filepath.Join(files, "eco2-*"))
	require.NoError(t, err)
	assert.Empty(t, left, "the machine's files are deleted after the script")
}
