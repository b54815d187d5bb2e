package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGoldenReleases compares the releases of a stack that has a mirror with the golden file in testdata, which tests
// of the rehearsal's charts also use. It is in JSON, because the types of values matter there.
func TestGoldenReleases(t *testing.T) {
	for _, name := range append([]string{"nodomain"}, stacks...) {
		t.Run(name, func(t *testing.T) {
			stack := name
			if name == "nodomain" {
				stack = "dev"
			}
			values := settings(t, stack)
			if name == "nodomain" {
				values["eco2:domain"], values["eco2:hostedZoneId"] = "", ""
			}
			values["eco2:mirror"] = map[string]any{"files": "https://mirror.example/files"}
			g, err := run(stack, values)
			require.NoError(t, err)
			releases := map[string]any{}
			for _, r := range g.ofType(releaseType) {
				releases[r.Name] = r.Inputs.Mappable()
			}
			got, err := json.MarshalIndent(releases, "", "  ")
			require.NoError(t, err)
			path := "testdata/" + name + ".releases.json"
			if *update {
				require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
				return
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(got), "the releases of %s changed; if that is intended: make golden (and read the diff)", name)
		})
	}
}

// TestGoldenAdmission compares the admission policy of dev with the golden file in testdata, which a test of the
// rehearsal gives to a real API server.
func TestGoldenAdmission(t *testing.T) {
	const path = "testdata/dev.admission.json"
	var objects []any
	for _, r := range mustRun(t, "dev").resources {
		if strings.HasPrefix(r.Type, "kubernetes:admissionregistration.k8s.io/") {
			objects = append(objects, r.Inputs.Mappable())
		}
	}
	got, err := json.MarshalIndent(objects, "", "  ")
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), string(got), "the admission policy changed; if that is intended: make golden (and read the diff)")
}
