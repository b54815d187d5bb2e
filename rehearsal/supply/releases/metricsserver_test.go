package releases

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/supply/charts/chartstest"
)

// apiService holds the TLS fields of an APIService, by which the API server verifies metrics-server.
type apiService struct {
	Spec struct {
		CABundle              []byte `json:"caBundle"`
		InsecureSkipTLSVerify bool   `json:"insecureSkipTLSVerify"`
	}
}

// The chart accepts the program's values, and all certificates are verified: that of metrics-server by the API server,
// and those of the kubelets by metrics-server, which by default uses the authority in its service account's volume.
func TestChartVerifiesCertificates(t *testing.T) {
	for _, stack := range []string{"dev", "prod"} {
		c, release := upstream(t, metricsServer, stack)
		manifest, err := chartstest.Render(c, release)
		require.NoError(t, err)
		var deployment appsv1.Deployment
		var service apiService
		var secret corev1.Secret
		for _, text := range strings.Split(manifest, "\n---\n") {
			for kind, into := range map[string]any{"Deployment": &deployment, "APIService": &service, "Secret": &secret} {
				if strings.Contains(text, "\nkind: "+kind+"\n") {
					require.NoError(t, yaml.Unmarshal([]byte(text), into))
				}
			}
		}
		pod := deployment.Spec.Template.Spec
		require.Len(t, pod.Containers, 1)
		assert.Equal(t, metricsServer.image, pod.Containers[0].Image)
		assert.Equal(t, map[string]string{"node-role.kubernetes.io/control-plane": ""}, pod.NodeSelector)
		assert.Len(t, pod.Tolerations, 2)
		assert.Equal(t, "256Mi", pod.Containers[0].Resources.Limits.Memory().String())
		args := strings.Join(pod.Containers[0].Args, " ")
		assert.Contains(t, args, "--kubelet-preferred-address-types=InternalIP,")
		assert.Contains(t, args, "--tls-cert-file=/tmp/tls-certs/tls.crt")
		assert.NotContains(t, args, "insecure")

		assert.False(t, service.Spec.InsecureSkipTLSVerify)
		pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(service.Spec.CABundle))
		block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
		require.Equal(t, pair.Certificate[0], block.Bytes)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		for _, at := range []time.Time{time.Now(), time.Now().AddDate(9, 0, 0)} {
			_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: "metrics-server.kube-system.svc", CurrentTime: at})
			assert.NoError(t, err, at)
		}
	}
}

// Every value that the program sets exists in the chart. Upstream's chart has no schema, so Helm would ignore a
// misspelt value.
func TestChartHasTheValues(t *testing.T) {
	var unknown func(path string, values, in map[string]any) []string
	unknown = func(path string, values, in map[string]any) (found []string) {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			there, ok := in[key]
			inner, isMap := values[key].(map[string]any)
			below, _ := there.(map[string]any)
			switch {
			case !ok:
				found = append(found, path+key)
			case isMap && len(below) > 0: // an empty object accepts any keys
				found = append(found, unknown(path+key+".", inner, below)...)
			}
		}
		return found
	}
	for _, stack := range []string{"dev", "prod"} {
		c, release := upstream(t, metricsServer, stack)
		known, values := c.Values, release.Values
		require.Contains(t, known, "tls")
		require.NotEmpty(t, values)
		resources := values["resources"]
		delete(values, "resources") // upstream's default has no limits, so they would look unknown
		assert.Empty(t, unknown("", values, known), stack)
		values["resources"], values["apiService"] = resources, map[string]any{"insecureSkipTLSVerfy": false}
		delete(values, "resources")
		assert.Equal(t, []string{"apiService.insecureSkipTLSVerfy"}, unknown("", values, known))
	}
}
