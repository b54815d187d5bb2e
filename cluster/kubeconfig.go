package cluster

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"regexp"
	"time"
)

var clientCertificate = regexp.MustCompile(`(?m)^ *client-certificate-data: (\S+)$`)

// expiry returns the date on which the certificate in a kubeconfig expires, such as 2027-11-29. It is empty for a
// kubeconfig without one, such as placeholderKubeconfig.
func expiry(kubeconfig string) string {
	found := clientCertificate.FindStringSubmatch(kubeconfig)
	if found == nil {
		return ""
	}
	data, err := base64.StdEncoding.DecodeString(found[1])
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return ""
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	return certificate.NotAfter.UTC().Format(time.DateOnly)
}
