// Package certificate creates self-signed certificates for the webhooks in the rehearsal's charts: it stores one in a
// Secret and injects its authority into the webhooks' configurations, so that the API server trusts it.
package certificate

import (
	"bytes"
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Secret describes the Secret with a webhook's certificate.
type Secret struct {
	client.ObjectKey
	// Authority, Certificate and Key are the keys in the Secret's data. They differ between upstream projects.
	Authority, Certificate, Key string
	// Names lists the DNS names of the certificate.
	Names []string
}

// Ensure creates a certificate that is valid for a year, if the Secret does not have one, and returns its authority.
func (s Secret) Ensure(ctx context.Context, cluster client.Client) (authority []byte, err error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace}}
	err = cluster.Get(ctx, s.ObjectKey, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("looking for the certificate: %w", err)
	}
	if len(secret.Data[s.Certificate]) > 0 && len(secret.Data[s.Key]) > 0 && len(secret.Data[s.Authority]) > 0 {
		return secret.Data[s.Authority], nil
	}
	// The result contains the authority's certificate after the one that it signed. The authority's key is discarded.
	certificate, key, err := cert.GenerateSelfSignedCertKey(s.Names[0], nil, s.Names)
	if err != nil {
		return nil, fmt.Errorf("creating a certificate for %v: %w", s.Names, err)
	}
	secret.Data = map[string][]byte{s.Authority: certificate, s.Certificate: certificate, s.Key: key}
	if missing {
		err = cluster.Create(ctx, secret)
	} else {
		err = cluster.Update(ctx, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("storing the certificate in secret %s: %w", s.ObjectKey, err)
	}
	return certificate, nil
}

// Inject sets the caBundle of each webhook in a configuration to the authority. The configuration must be a
// *ValidatingWebhookConfiguration or a *MutatingWebhookConfiguration as it was read from the API server.
func Inject(ctx context.Context, cluster client.Client, configuration client.Object, authority []byte) error {
	before := configuration.DeepCopyObject().(client.Object)
	changed := false
	set := func(c *admissionv1.WebhookClientConfig) {
		if !bytes.Equal(c.CABundle, authority) {
			c.CABundle, changed = authority, true
		}
	}
	switch c := configuration.(type) {
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			set(&c.Webhooks[i].ClientConfig)
		}
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			set(&c.Webhooks[i].ClientConfig)
		}
	default:
		return fmt.Errorf("injecting an authority: a %T has no webhooks", configuration)
	}
	if !changed {
		return nil
	}
	if err := cluster.Patch(ctx, configuration, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("injecting the authority into %s: %w", configuration.GetName(), err)
	}
	return nil
}
