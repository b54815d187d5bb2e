package certificate

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/standin"
)

// Connect returns a client for a chart's Job that creates or patches certificates.
func Connect() (client.Client, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	scheme, err := standin.NewScheme(corev1.AddToScheme, admissionv1.AddToScheme)
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: scheme})
}

// Patch injects the authority of a Secret's certificate into the validating and the mutating webhook configuration with
// a name, as upstream's Job after an install does.
func (s Secret) Patch(ctx context.Context, cluster client.Client, name string) error {
	secret := &corev1.Secret{}
	if err := cluster.Get(ctx, s.ObjectKey, secret); err != nil {
		return fmt.Errorf("looking for the certificate: %w", err)
	}
	for _, configuration := range []client.Object{&admissionv1.ValidatingWebhookConfiguration{}, &admissionv1.MutatingWebhookConfiguration{}} {
		if err := cluster.Get(ctx, client.ObjectKey{Name: name}, configuration); err != nil {
			return fmt.Errorf("looking for the webhooks: %w", err)
		}
		if err := Inject(ctx, cluster, configuration, secret.Data[s.Authority]); err != nil {
			return err
		}
	}
	return nil
}
