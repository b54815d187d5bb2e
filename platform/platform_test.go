package platform

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

func TestChartSource(t *testing.T) {
	repository := Chart{Name: "external-dns", Version: "1.21.1", Repository: "https://kubernetes-sigs.github.io/external-dns/"}
	oci := Chart{Name: "operator", Version: "0.6.5", Repository: "oci://registry.example/charts/operator"}
	mirror := config.Mirror{Files: "http://mirror.example:8080/files"}
	for _, test := range []struct {
		chart  Chart
		mirror config.Mirror
		want   chartSource
	}{
		{repository, config.Mirror{}, chartSource{"external-dns", "https://kubernetes-sigs.github.io/external-dns/"}},
		{oci, config.Mirror{}, chartSource{"oci://registry.example/charts/operator", ""}},
		{repository, mirror, chartSource{"external-dns", "http://mirror.example:8080/files/kubernetes-sigs.github.io/external-dns"}},
		{oci, mirror, chartSource{"http://mirror.example:8080/files/registry.example/charts/operator-0.6.5.tgz", ""}},
	} {
		source, err := test.chart.source(test.mirror)
		require.NoError(t, err)
		assert.Equal(t, test.want, source)
	}
}

// A definition without its checksum, or from a place that can change, is not pinned.
func TestBundlesArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^https://raw\.githubusercontent\.com/[^/]+/[^/]+/v\d+\.\d+\.\d+/`)
	checksum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for _, b := range bundles {
		for _, file := range b.files {
			assert.Regexp(t, pinned, file[0], b.release)
			assert.Regexp(t, checksum, file[1], b.release)
		}
	}
}
