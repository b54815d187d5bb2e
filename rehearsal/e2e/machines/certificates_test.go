package machines

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serving returns the serial number of the certificate that a node's kubelet presents. It is empty if the certificate
// cannot be verified: issued by the cluster's authority, for the node's name and its address.
func (c *cluster) serving(node string) string {
	c.t.Helper()
	address := c.machines()[node].PrivateIP
	return strings.TrimSpace(string(c.on("k8s-master", fmt.Sprintf(`
		openssl s_client -connect %s:10250 -CAfile /etc/kubernetes/pki/ca.crt -verify_return_error -verify_ip %s -verify_hostname %s </dev/null 2>/dev/null >/run/served &&
		openssl x509 -in /run/served -noout -serial || true`, address, address, node))))
}

// request creates a certificate signing request with the credentials of k8s-redis' kubelet, for the given names and
// addresses.
func (c *cluster) request(name, alternatives string) {
	c.t.Helper()
	const node = "k8s-redis"
	c.on(node, fmt.Sprintf(`set -e
		openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout /dev/null -out /run/request 2>/dev/null \
			-subj /O=system:nodes/CN=system:node:%s -addext subjectAltName=%s
		kubectl --kubeconfig /etc/kubernetes/kubelet.conf create -f - <<YAML
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: %s}
spec:
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, server auth]
  request: $(base64 --wrap=0 /run/request)
YAML`, node, alternatives, name))
}

// kubeletsCertificates checks which requests for serving certificates are approved, and that a kubelet which loses its
// certificate gets another one by itself.
func (c *cluster) kubeletsCertificates(t *testing.T) {
	for node := range c.machines() {
		assert.NotEmpty(t, c.serving(node), "the kubelet of %s presents no certificate of the cluster's authority for its name and address", node)
	}

	machines := c.machines()
	own, other := machines["k8s-redis"].PrivateIP, machines["k8s-master"].PrivateIP
	c.request("another-name", "DNS:k8s-master,IP:"+own)
	c.request("another-address", "DNS:k8s-redis,IP:"+other)
	c.request("one-more-address", "DNS:k8s-redis,IP:"+own+",IP:"+other)
	c.request("its-own", "DNS:k8s-redis,IP:"+own)
	read := func(name, path string) string {
		return c.kubectl("get", "certificatesigningrequests", name, "--output=jsonpath={"+path+"}")
	}
	require.Eventually(t, func() bool { return read("its-own", ".status.certificate") != "" }, time.Minute, time.Second)
	for _, name := range []string{"another-name", "another-address", "one-more-address"} {
		require.Eventually(t, func() bool {
			return read(name, `.metadata.annotations.eco2\.io/not-approved`) == "it does not ask for the node's name and address"
		}, time.Minute, time.Second, name)
		assert.Empty(t, read(name, ".status.conditions"), name)
	}
	journal := string(c.on("k8s-master", "journalctl --unit=eco2-approve --output=cat --no-pager"))
	assert.Equal(t, 1, strings.Count(journal, "another-name of "), "it must be logged once: %s", journal)

	before := c.serving("k8s-redis")
	c.on("k8s-redis", "rm /var/lib/kubelet/pki/kubelet-server-* && systemctl restart kubelet")
	require.Eventually(t, func() bool {
		now := c.serving("k8s-redis")
		return now != "" && now != before
	}, 2*time.Minute, time.Second, "the kubelet got no other certificate")
	for _, name := range []string{"another-name", "another-address", "one-more-address"} {
		assert.Empty(t, read(name, ".status.conditions"), name)
	}
}
