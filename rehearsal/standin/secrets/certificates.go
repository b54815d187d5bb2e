package secrets

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"eco2/rehearsal/standin"
	"eco2/rehearsal/standin/certificate"
)

// webhookName is the name of the webhook's Service, Deployment and Secret.
const webhookName = "external-secrets-webhook"

// webhookLabels select the webhook configurations to inject the authority into.
var webhookLabels = client.MatchingLabels{"external-secrets.io/component": "webhook"}

// certificates reconciles the webhook's certificate, and its authority in the webhook configurations.
type certificates struct {
	cluster client.Client
	secret  certificate.Secret
	// injected says whether the configurations have the authority, so that the API server can call the webhook.
	injected *atomic.Bool
}

// Certificates runs the stand-in for external-secrets-cert-controller, which creates the webhook's certificate. Its
// readiness probe succeeds once the webhook configurations have the authority.
func Certificates(ctx context.Context, namespace string) error {
	scheme, err := standin.NewScheme(corev1.AddToScheme, admissionv1.AddToScheme)
	if err != nil {
		return err
	}
	options := manager.Options{
		Scheme: scheme,
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{
				namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", webhookName)},
			}},
		}},
	}
	return standin.Run(ctx, options, func(m manager.Manager) error {
		c := certificates{cluster: m.GetClient(), injected: &atomic.Bool{}, secret: certificate.Secret{
			ObjectKey: client.ObjectKey{Namespace: namespace, Name: webhookName},
			Authority: "ca.crt", Certificate: corev1.TLSCertKey, Key: corev1.TLSPrivateKeyKey,
			Names: []string{webhookName + "." + namespace + ".svc"},
		}}
		err := m.AddReadyzCheck("injected", func(*http.Request) error {
			if !c.injected.Load() {
				return fmt.Errorf("the webhook configurations do not have the certificate's authority yet")
			}
			return nil
		})
		if err != nil {
			return err
		}
		return builder.ControllerManagedBy(m).Named("certificates").
			For(&admissionv1.ValidatingWebhookConfiguration{}).Complete(c)
	})
}

// Reconcile injects the authority into each configuration with webhookLabels.
func (c certificates) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	all := &admissionv1.ValidatingWebhookConfigurationList{}
	if err := c.cluster.List(ctx, all, webhookLabels); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing the webhooks: %w", err)
	}
	authority, err := c.secret.Ensure(ctx, c.cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	for i := range all.Items {
		if err := certificate.Inject(ctx, c.cluster, &all.Items[i], authority); err != nil {
			return reconcile.Result{}, err
		}
	}
	c.injected.Store(len(all.Items) > 0)
	return reconcile.Result{}, nil
}
