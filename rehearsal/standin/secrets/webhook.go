package secrets

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"eco2/rehearsal/standin"
)

// webhookPort is upstream's port, which the network policies allow.
const webhookPort = 10250

// validators maps the webhook's paths to the function that validates an object there.
var validators = map[string]func(*unstructured.Unstructured) error{
	"/validate-external-secrets-io-v1-clustersecretstore": func(o *unstructured.Unstructured) error { _, err := readStore(o); return err },
	"/validate-external-secrets-io-v1-externalsecret":     func(o *unstructured.Unstructured) error { _, err := readSecret(o); return err },
}

// Webhook runs the stand-in for external-secrets-webhook, which rejects stores and ExternalSecrets that Controller does
// not support. Its readiness probe succeeds once it has a certificate, which Certificates creates.
func Webhook(ctx context.Context, namespace string) error {
	return serve(ctx, namespace, webhookPort, standin.ProbeAddress)
}

func serve(ctx context.Context, namespace string, port int, probes string) error {
	scheme, err := standin.NewScheme(corev1.AddToScheme)
	if err != nil {
		return err
	}
	var cluster client.Reader
	load := func(ctx context.Context) (*tls.Certificate, error) {
		secret := &corev1.Secret{}
		if err := cluster.Get(ctx, client.ObjectKey{Namespace: namespace, Name: webhookName}, secret); err != nil {
			return nil, fmt.Errorf("looking for the certificate: %w", err)
		}
		certificate, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
		if err != nil {
			return nil, fmt.Errorf("reading the certificate in secret %s: %w", webhookName, err)
		}
		return &certificate, nil
	}
	options := manager.Options{
		Scheme: scheme, HealthProbeBindAddress: probes,
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {
			Namespaces: map[string]cache.Config{namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", webhookName)}},
		}}},
		WebhookServer: webhook.NewServer(webhook.Options{Port: port, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			// From the API and not from a mounted file, which the kubelet updates up to a minute later.
			c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return load(hello.Context()) }
		}}}),
	}
	return standin.Run(ctx, options, func(m manager.Manager) error {
		cluster = m.GetClient()
		// Start the informer now, so that the cache has the Secret before the first probe needs the certificate.
		if _, err := m.GetCache().GetInformer(ctx, &corev1.Secret{}); err != nil {
			return fmt.Errorf("watching the certificate: %w", err)
		}
		for path, validate := range validators {
			m.GetWebhookServer().Register(path, &admission.Webhook{Handler: validating(validate)})
		}
		// This check connects to the webhook server over TLS.
		return m.AddReadyzCheck("webhook", m.GetWebhookServer().StartedChecker())
	})
}

// validating returns a handler that denies objects for which validate returns an error. It allows every delete.
func validating(validate func(*unstructured.Unstructured) error) admission.HandlerFunc {
	return func(_ context.Context, request admission.Request) admission.Response {
		if request.Operation == admissionv1.Delete {
			return admission.Allowed("")
		}
		o := &unstructured.Unstructured{}
		if err := o.UnmarshalJSON(request.Object.Raw); err != nil {
			return admission.Errored(http.StatusBadRequest, fmt.Errorf("reading the object: %w", err))
		}
		if err := validate(o); err != nil {
			return admission.Denied(err.Error())
		}
		return admission.Allowed("")
	}
}
