package infra

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheControlPlaneKeepsItsAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.16.0/20")
	for previous, want := range map[string]string{
		"":           "10.0.16.10", // a new stack
		"10.0.23.7":  "10.0.23.7",  // AWS chose it for an earlier version of the program
		"10.0.16.10": "10.0.16.10",
		"10.0.0.9":   "10.0.16.10", // of another subnet, which cannot be given to a machine here
		"malformed":  "10.0.16.10",
	} {
		assert.Equal(t, want, controlPlaneAddress(subnet, previous), previous)
	}
}
