package secrets

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	awsclient "eco2/rehearsal/cloud/client"
	"eco2/rehearsal/standin"
)

// Controller runs the stand-in for external-secrets, which copies SSM parameters into Secrets.
func Controller(ctx context.Context) error {
	aws, err := awsclient.New(ctx)
	if err != nil {
		return err
	}
	scheme, err := standin.NewScheme(corev1.AddToScheme)
	if err != nil {
		return err
	}
	options := manager.Options{
		Scheme: scheme, LeaderElection: true, LeaderElectionID: "external-secrets-controller",
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			// Do not cache Secrets that the controller did not create.
			&corev1.Secret{}: {Label: labels.SelectorFromSet(labels.Set{managed: "true"})},
		}},
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	}
	return standin.Run(ctx, options, func(m manager.Manager) error { return add(m, aws) })
}

// add adds the controllers of both kinds to a manager.
func add(m manager.Manager, aws AWS) error {
	recorder := m.GetEventRecorder(owner)
	err := builder.ControllerManagedBy(m).Named("stores").
		For(object(storeKind), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(stores{cluster: m.GetClient(), events: recorder, aws: aws})
	if err != nil {
		return fmt.Errorf("preparing the controller of stores: %w", err)
	}
	err = builder.ControllerManagedBy(m).Named("external-secrets").
		For(object(secretKind), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Owns(&corev1.Secret{}). // to restore a Secret that somebody changes or deletes
		Watches(object(storeKind), handler.EnqueueRequestsFromMapFunc(users(m.GetClient()))).
		Complete(externalSecrets{cluster: m.GetClient(), events: recorder, aws: aws})
	if err != nil {
		return fmt.Errorf("preparing the controller of external secrets: %w", err)
	}
	return nil
}

// users returns a function that maps a store to those of its ExternalSecrets that are not ready. They may have failed
// because the store was not ready.
func users(cluster client.Reader) handler.MapFunc {
	return func(ctx context.Context, store client.Object) (requests []reconcile.Request) {
		all := objects(secretKind)
		if cluster.List(ctx, all) != nil {
			return nil // failed ExternalSecrets are retried anyway
		}
		for i := range all.Items {
			spec, err := readSecret(&all.Items[i])
			if err == nil && spec.SecretStoreRef.Name == store.GetName() && !ready(&all.Items[i]) {
				requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
			}
		}
		return requests
	}
}
