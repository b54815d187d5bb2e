package config

import (
	"regexp"
	"strings"
)

var (
	domain     = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63}|xn--[a-z0-9-]{1,58}[a-z0-9])$`)
	hostedZone = regexp.MustCompile(`^Z[A-Z0-9]{7,31}$`)
)

// maxDomain is the maximum length of a certificate's first name. ACM's RequestCertificate accepts 64 characters, the
// limit of RFC 5280 for a common name.
const maxDomain = 64

// checkDomain reports a domain without its hosted zone or the reverse, and a domain for which there is no certificate.
func (r *report) checkDomain(name, zoneID string) {
	switch {
	case name == "" && zoneID == "":
		return
	case zoneID == "":
		r.problem("hostedZoneId", "is missing although %s is set; set the id of the Route 53 zone that contains %s",
			r.key("domain"), name)
	case name == "":
		r.problem("domain", "is missing although %s is set; set the domain to serve", r.key("hostedZoneId"))
	case !hostedZone.MatchString(zoneID):
		r.problem("hostedZoneId", "%q is not a Route 53 hosted zone id such as Z0123456789ABCDEFGHIJ", zoneID)
	}
	plain := strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case name == "":
	case !domain.MatchString(plain):
		r.problem("domain", "%q is not a domain name such as dev.example.com", name)
	case plain != name:
		r.problem("domain", "%q must be in lower case and without a trailing dot: %s", name, plain)
	case len(name) > maxDomain:
		r.problem("domain", "%s has %d characters; an AWS certificate supports at most %d, so use a shorter one",
			name, len(name), maxDomain)
	}
}
