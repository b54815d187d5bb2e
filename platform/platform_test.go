package platform

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

func TestChartSource(t *testing.T) {
	repository := chart{Name: "external-dns", Version: "1.21.1", Repository: "https://kubernetes-sigs.github.io/external-dns/"}
	oci := chart{Name: "operator", Version: "0.6.5", Repository: "oci://registry.example/charts/operator"}
	mirror := config.Mirror{Files: "https://mirror.example:8080/files"}
	for _, test := range []struct {
		chart  chart
		mirror config.Mirror
		want   chartSource
	}{
		{repository, config.Mirror{}, chartSource{"external-dns", "https://kubernetes-sigs.github.io/external-dns/"}},
		{oci, config.Mirror{}, chartSource{"oci://registry.example/charts/operator", ""}},
		{repository, mirror, chartSource{"external-dns", "https://mirror.example:8080/files/kubernetes-sigs.github.io/external-dns"}},
		{oci, mirror, chartSource{"https://mirror.example:8080/files/registry.example/charts/operator-0.6.5.tgz", ""}},
	} {
		source, err := test.chart.source(test.mirror)
		require.NoError(t, err)
		assert.Equal(t, test.want, source)
	}
}

// Every CRD file must have a checksum and a URL with a version, whose content cannot change unnoticed.
func TestCRDsArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^https://raw\.githubusercontent\.com/[^/]+/[^/]+/v\d+\.\d+\.\d+/`)
	checksum := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for release, files := range chartCRDs {
		for _, file := range files {
			assert.Regexp(t, pinned, file.url, release)
			assert.Regexp(t, checksum, file.sha256, release)
		}
	}
}
