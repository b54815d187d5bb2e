// Package certificate gives webhooks of the rehearsal's charts a certificate of their own: it keeps one in a Secret,
// and tells the API server, in the webhooks' configurations, the authority to check it by.
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

// Secret is where a certificate is kept.
type Secret struct {
	client.ObjectKey
	// Authority, Certificate and Key are the keys of the data. Upstreams differ in them.
	Authority, Certificate, Key string
	// Names are what the certificate is for.
	Names []string
}

// Ensure has the Secret hold a certificate, for a year, and returns its authority. One that is there stays.
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
	// The authority's certificate follows the one that it signed, and its key is thrown away.
	certificate, key, err := cert.GenerateSelfSignedCertKey(s.Names[0], nil, s.Names)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for %v: %w", s.Names, err)
	}
	secret.Data = map[string][]byte{s.Authority: certificate, s.Certificate: certificate, s.Key: key}
	if missing {
		err = cluster.Create(ctx, secret)
	} else {
		err = cluster.Update(ctx, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the certificate in secret %s: %w", s.ObjectKey, err)
	}
	return certificate, nil
}

// Inject puts the authority into each webhook of a configuration, which is a *ValidatingWebhookConfiguration or a
// *MutatingWebhookConfiguration that was just read.
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
