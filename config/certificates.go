package config

import "time"

// renewBefore is how long before their expiry an update renews the control plane's certificates. kubeadm makes them for
// a year. A timer on the machine renews them when 30 days are left, for a cluster that has no updates; the kubeconfig in
// the state is then the old one, which stays valid until its own expiry.
const renewBefore = 90 * 24 * time.Hour

// certificatesValidUntil returns the date until which this update makes the control plane's certificates valid, such as
// 2027-11-30, or an empty string if there is nothing to renew. It stays the same until they must be renewed again, so
// that the command that renews them runs only then.
func (p Previous) certificatesValidUntil(now time.Time) string {
	expires, err := time.Parse(time.DateOnly, p.CertificatesExpire)
	if err != nil || now.Add(renewBefore).Before(expires) {
		return p.CertificatesValidUntil
	}
	// Longer than the certificates that exist.
	return expires.AddDate(0, 0, 1).Format(time.DateOnly)
}

// warnOfRenewal warns that this update renews the control plane's certificates.
func (r *report) warnOfRenewal(c Config) {
	if c.CertificatesValidUntil != c.Previous.CertificatesValidUntil {
		r.warnings = append(r.warnings, "this update renews the control plane's certificates and the kubeconfig, which expire on "+
			c.Previous.CertificatesExpire+"; the API may be away for a minute, and the preview shows every object in the cluster as an update")
	}
}
