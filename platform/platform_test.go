package platform

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/infra"
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

// A database's password is readable by its own namespace and by the APIs, which log in; the platform's by nobody else.
func TestReadableParameters(t *testing.T) {
	readable := readableParameters("/eco2/dev")
	var names []string
	for name, beginnings := range readable {
		names = append(names, name)
		for _, beginning := range beginnings {
			assert.Regexp(t, `^/eco2/dev/[a-z]+/([a-z]+-)?$`, beginning, "%s: a longer name must not begin so, too", name)
		}
	}
	assert.ElementsMatch(t, append(workloadNamespaces(), monitoring), names)
	may := func(namespace, parameter string) bool {
		return slices.ContainsFunc(readable[namespace], func(beginning string) bool { return strings.HasPrefix(parameter, beginning) })
	}
	for parameter, want := range map[string][]string{
		"/eco2/dev/data/postgres-password":   append(infra.Domains(), "postgres"),
		"/eco2/dev/data/redis-password":      append(infra.Domains(), "redis"),
		"/eco2/dev/data/rabbitmq-password":   append(infra.Domains(), "rabbitmq"),
		"/eco2/dev/" + infra.GrafanaPassword: {monitoring},
		"/eco2/dev/network/vpc-id":           workloadNamespaces(),
		"/eco2/dev/auth/jwt-secret":          {"auth"},
		"/eco2/prod/auth/jwt-secret":         nil,
	} {
		var got []string
		for name := range readable {
			if may(name, parameter) {
				got = append(got, name)
			}
		}
		assert.ElementsMatch(t, want, got, parameter)
	}
}
