// Package chartstest renders charts with what the program declares.
package chartstest

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
)

// Release is what the program declares of one, as its own test records it.
type Release struct {
	Name, Namespace, Chart, Version string
	RepositoryOpts                  struct{ Repo string }
	Values                          map[string]any
}

// Releases are those of a stack with a mirror at http://mirror.example/files, by name. repo is the project's checkout.
func Releases(t *testing.T, repo, stack string) map[string]Release {
	t.Helper()
	data, err := os.ReadFile(repo + "/testdata/" + stack + ".releases.json")
	require.NoError(t, err)
	declared := map[string]Release{}
	require.NoError(t, json.Unmarshal(data, &declared))
	return declared
}

// Render is what Helm would install.
func Render(c *chart.Chart, r Release) (string, error) {
	install := action.NewInstall(&action.Configuration{})
	install.ReleaseName, install.Namespace = r.Name, r.Namespace
	install.ClientOnly, install.DryRun, install.SkipCRDs = true, true, true
	rendered, err := install.Run(c, r.Values)
	if err != nil {
		return "", err
	}
	return rendered.Manifest, nil
}
