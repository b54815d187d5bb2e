package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDevMayExposeItselfWithAWarning(t *testing.T) {
	s := newStack(t, values{"adminCidrs": []string{"0.0.0.0/0"}})
	s.mustLoad(t)
	assert.Equal(t, []string{
		"eco2:adminCidrs: 0.0.0.0/0 exposes SSH and the Kubernetes API to the whole internet",
	}, s.warnings)
}

// The warning counts the networks together; none of them has to cover all addresses by itself.
func TestDevMayExposeItselfInPartsWithAWarning(t *testing.T) {
	s := newStack(t, values{"adminCidrs": []string{"0.0.0.0/1", "128.0.0.0/1"}, "nodePortCidrs": []string{"128.0.0.0/1"}})
	s.mustLoad(t)
	assert.Equal(t, []string{
		"eco2:adminCidrs: its networks together expose SSH and the Kubernetes API to 100 % of all IPv4 addresses",
		"eco2:nodePortCidrs: its networks together expose the NodePorts to 50 % of all IPv4 addresses",
	}, s.warnings)
}

func TestInternetShare(t *testing.T) {
	for _, test := range []struct {
		networks string
		want     float64
	}{
		{"", 0},
		{"0.0.0.0/0", 1},
		{"0.0.0.0/1 128.0.0.0/1", 1},
		{"0.0.0.0/1 128.0.0.0/2 192.0.0.0/3", 0.875},
		{"0.0.0.0/1 10.0.0.0/8", 0.5},
		{"10.0.0.0/8 0.0.0.0/1 10.1.0.0/16", 0.5},
		{"0.0.0.0/2 0.0.0.0/2", 0.25},
		{"0.0.0.0/2 0.0.0.0/2 64.0.0.0/2", 0.5},
		{"203.0.113.7/32", 1.0 / (1 << 32)},
		{"0.0.0.0/0 0.0.0.0/1 1.2.3.4/32", 1},
	} {
		var networks []netip.Prefix
		for _, text := range strings.Fields(test.networks) {
			networks = append(networks, netip.MustParsePrefix(text))
		}
		assert.Equal(t, test.want, internetShare(networks), test.networks) // powers of two are exact
	}
}
