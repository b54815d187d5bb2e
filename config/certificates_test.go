package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Certificates are renewed 90 days before they expire, and once: afterwards they are valid for another year.
func TestCertificatesAreRenewedBeforeTheyExpire(t *testing.T) {
	day := func(text string) time.Time {
		at, err := time.Parse(time.DateOnly, text)
		assert.NoError(t, err)
		return at
	}
	for name, test := range map[string]struct {
		was  Previous
		now  string
		want string
	}{
		"a new stack":                   {Previous{}, "2026-11-29", ""},
		"valid for long enough":         {Previous{CertificatesExpire: "2027-11-29"}, "2027-08-30", ""},
		"due":                           {Previous{CertificatesExpire: "2027-11-29"}, "2027-08-31", "2027-11-30"},
		"expired":                       {Previous{CertificatesExpire: "2027-11-29"}, "2028-05-01", "2027-11-30"},
		"renewed":                       {Previous{CertificatesExpire: "2028-08-31", CertificatesValidUntil: "2027-11-30"}, "2027-09-01", "2027-11-30"},
		"due again":                     {Previous{CertificatesExpire: "2028-08-31", CertificatesValidUntil: "2027-11-30"}, "2028-07-01", "2028-09-01"},
		"a stack of an earlier version": {Previous{Name: "eco2-dev"}, "2026-11-29", ""},
	} {
		assert.Equal(t, test.want, test.was.certificatesValidUntil(day(test.now)), name)
	}

	s := newStack(t, nil)
	s.previous = previousOutput(values{"certificatesExpire": "2020-01-01"})
	assert.Equal(t, "2020-01-02", s.mustLoad(t).CertificatesValidUntil)
	assert.Contains(t, s.warnings, "this update renews the control plane's certificates and the kubeconfig, which expire on 2020-01-01; "+
		"the API may be away for a minute, and the preview shows every object in the cluster as an update")
}
