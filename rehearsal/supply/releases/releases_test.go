package releases

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/supply/charts/chartstest"
	"eco2/rehearsal/supply/mirror"
)

// repo is the checkout of the whole repository.
const repo = "../../.."

var api *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, repo, &api) }

// source returns the directory of a release's module.
func source(t *testing.T, r release) string {
	t.Helper()
	dir, err := mirror.Source(t.Context(), repo, r.name)
	require.NoError(t, err)
	return dir
}

// upstream returns a release's chart, and the release as a stack declares it.
func upstream(t *testing.T, r release, stack string) (*chart.Chart, chartstest.Release) {
	t.Helper()
	c, err := r.chart(source(t, r))
	require.NoError(t, err)
	declared := chartstest.Releases(t, repo, stack)[r.name]
	assert.Equal(t, declared.Version, c.Metadata.Version)
	return c, declared
}
