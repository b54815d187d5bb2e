package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// certificate returns a certificate that is valid for some days.
func certificate(t *testing.T, days int) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, days)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// withCertificate returns a kubeconfig with a client certificate.
func withCertificate(certificate string) string {
	return "users:\n- user:\n    client-certificate-data: " + base64.StdEncoding.EncodeToString([]byte(certificate)) + "\n"
}

// The certificates are renewed if one of them, in a file or in a kubeconfig, expires before the date, and each component
// then reads its own.
func TestCertificatesAreRenewed(t *testing.T) {
	const renewed = "kubeadm certs renew all\n" +
		"crictl stopp etcd\ncrictl stopp kube-apiserver\ncrictl stopp kube-controller-manager\ncrictl stopp kube-scheduler\n"
	for name, test := range map[string]struct {
		expires string // the file whose certificate expires within 30 days
		unread  bool   // an earlier run was interrupted before all components had read theirs
		down    bool
		does    string
		says    string
		fails   bool
	}{
		"all are valid":               {says: "the control plane's certificates are valid until "},
		"the API server's expires":    {expires: "pki/apiserver.crt", does: renewed, says: "renewing the control plane's certificates: apiserver.crt; its API may be away for a minute"},
		"etcd's expires":              {expires: "pki/etcd/server.crt", does: renewed, says: "certificates: server.crt;"},
		"the administrator's expires": {expires: "admin.conf", does: renewed, says: "certificates: admin.conf;"},
		"the scheduler's expires":     {expires: "scheduler.conf", does: renewed, says: "certificates: scheduler.conf;"},
		"an authority is not renewed": {expires: "pki/ca.crt"},
		"an interrupted run":          {unread: true, does: renewed},
		"a component that stays away": {expires: "pki/apiserver.crt", down: true, fails: true, does: "kubeadm certs renew all\ncrictl stopp etcd\n", says: "the API server does not answer after etcd was stopped to read its new certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestHost(t)
			long, short := certificate(t, 200), certificate(t, 20)
			of := func(file string) string {
				if file == test.expires {
					return short
				}
				return long
			}
			for _, file := range []string{"pki/ca.crt", "pki/apiserver.crt", "pki/etcd/ca.crt", "pki/etcd/server.crt"} {
				c.write("etc/kubernetes/"+file, of(file))
			}
			for _, file := range []string{"admin.conf", "controller-manager.conf", "scheduler.conf"} {
				c.write("etc/kubernetes/"+file, withCertificate(of(file)))
			}
			if test.unread {
				c.write("etc/kubernetes/.certificates-unread", "")
			}
			if test.down {
				c.command("kubectl", "exit 1")
			}
			c.command("kubeadm", `echo "kubeadm $*" >>"`+c.dir+`/done"`)
			c.command("crictl", `case "$*" in
pods*) echo "$*" | sed 's/.*component=\([a-z-]*\) .*/\1/';;
*) echo "crictl $*" >>"`+c.dir+`/done";;
esac`)
			printed, err := c.try("certificates", "", "--valid-until", "30 days")
			assert.Equal(t, test.fails, err != nil, printed)
			assert.Equal(t, test.does, c.read("done"), printed)
			assert.Contains(t, printed, test.says)
			if !test.fails {
				assert.NoFileExists(t, c.dir+"/etc/kubernetes/.certificates-unread")
			}
		})
	}
	c := newTestHost(t)
	printed, err := c.try("certificates", "", "--valid-until", "soon")
	require.Error(t, err)
	assert.Contains(t, printed, "--valid-until is soon, which is no date")
}

func TestExpiryOfAKubeconfig(t *testing.T) {
	tomorrow := time.Now().AddDate(0, 0, 1).UTC().Format(time.DateOnly)
	assert.Equal(t, tomorrow, expiry(withCertificate(certificate(t, 1))))
	assert.Empty(t, expiry(placeholderKubeconfig))
	assert.Empty(t, expiry(withCertificate("no certificate")))
	assert.Empty(t, expiry("client-certificate-data: ?\n"))
}
