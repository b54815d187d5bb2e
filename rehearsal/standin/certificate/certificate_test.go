package certificate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"eco2/rehearsal/standin"
)

// The two Jobs of an install: the first creates the certificate, the second injects its authority into both
// configurations.
func TestCertificateJobs(t *testing.T) {
	scheme, err := standin.NewScheme(corev1.AddToScheme, registrationv1.AddToScheme)
	require.NoError(t, err)
	const name = "kube-prometheus-stack-admission"
	meta := metav1.ObjectMeta{Name: name}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&registrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []registrationv1.ValidatingWebhook{{Name: "a"}, {Name: "b"}}},
		&registrationv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []registrationv1.MutatingWebhook{{Name: "c"}}},
	).Build()
	s := Secret{
		ObjectKey: client.ObjectKey{Namespace: "monitoring", Name: name}, Authority: "ca", Certificate: "cert", Key: "key",
		Names: []string{"kube-prometheus-stack-operator.monitoring.svc"},
	}
	assert.ErrorContains(t, s.Patch(t.Context(), c, name), "certificate", "there is no certificate yet")

	authority, err := s.Ensure(t.Context(), c)
	require.NoError(t, err)
	again, err := s.Ensure(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, authority, again, "Ensure keeps an existing certificate")
	require.NoError(t, s.Patch(t.Context(), c, name))

	validating, mutating := &registrationv1.ValidatingWebhookConfiguration{}, &registrationv1.MutatingWebhookConfiguration{}
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, validating))
	require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, mutating))
	for _, bundle := range [][]byte{
		validating.Webhooks[0].ClientConfig.CABundle, validating.Webhooks[1].ClientConfig.CABundle, mutating.Webhooks[0].ClientConfig.CABundle,
	} {
		assert.Equal(t, authority, bundle)
	}
	assert.ErrorContains(t, s.Patch(t.Context(), c, "another"), "another")
}
