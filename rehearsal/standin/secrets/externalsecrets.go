package secrets

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// owner is the field manager of Secrets and the source of events.
const owner = "external-secrets"

// managed is the label of Secrets that belong to an ExternalSecret.
const managed = "reconcile.external-secrets.io/managed"

// defaultRefresh is how often parameters are read again if an ExternalSecret has no refreshInterval.
const defaultRefresh = time.Hour

// externalSecrets reconciles ExternalSecrets: it copies their parameters into Secrets.
type externalSecrets struct {
	cluster client.Client
	events  events.EventRecorder
	aws     AWS
}

// Reconcile applies the Secret of an ExternalSecret, or reports in its condition and an event why it cannot.
func (e externalSecrets) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	external := object(secretKind)
	if err := e.cluster.Get(ctx, request.NamespacedName, external); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if external.GetDeletionTimestamp() != nil {
		return reconcile.Result{}, nil // the garbage collector deletes the Secret with its owner
	}
	again, err := e.sync(ctx, external)
	if err != nil {
		c := condition{corev1.ConditionFalse, "SecretSyncedError", err.Error()}
		changed, err := setReady(ctx, e.cluster, external, c, nil)
		if changed {
			e.events.Eventf(external, nil, corev1.EventTypeWarning, "UpdateFailed", "Sync", "%s", c.Message)
		}
		return reconcile.Result{RequeueAfter: retry}, err
	}
	status := map[string]any{"refreshTime": now(), "binding": map[string]any{"name": target(external)}}
	changed, err := setReady(ctx, e.cluster, external, condition{corev1.ConditionTrue, "SecretSynced", "secret synced"}, status)
	if changed {
		e.events.Eventf(external, nil, corev1.EventTypeNormal, "Updated", "Sync", "secret %s has the values of its parameters", target(external))
	}
	return reconcile.Result{RequeueAfter: again}, err
}

// sync applies the Secret and returns the time until the next refresh; 0 means never.
func (e externalSecrets) sync(ctx context.Context, external *unstructured.Unstructured) (again time.Duration, err error) {
	spec, err := readSecret(external)
	if err != nil {
		return 0, err
	}
	store := object(storeKind)
	if err := e.cluster.Get(ctx, client.ObjectKey{Name: spec.SecretStoreRef.Name}, store); err != nil {
		return 0, fmt.Errorf("looking for the store: %w", err)
	}
	if !ready(store) {
		return 0, fmt.Errorf("the store %s is not ready; see its own condition", store.GetName())
	}
	switch of, err := readStore(store); {
	case err != nil:
		return 0, err
	case !of.allows(external.GetNamespace()):
		return 0, fmt.Errorf("using cluster store %q is not allowed from namespace %q: denied by spec.condition", store.GetName(), external.GetNamespace())
	}
	data, err := e.fetch(ctx, spec)
	if err != nil {
		return 0, err
	}
	// A server-side apply removes the keys that are no longer required. It fails for a Secret that has another
	// controller.
	secret := corev1ac.Secret(target(external), external.GetNamespace()).
		WithLabels(map[string]string{managed: "true"}).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(external.GetAPIVersion()).WithKind(external.GetKind()).
			WithName(external.GetName()).WithUID(external.GetUID()).
			WithController(true).WithBlockOwnerDeletion(true)).
		WithData(data)
	if t := spec.Target.Template; t != nil {
		secret.WithAnnotations(t.Metadata.Annotations)
	}
	if err := e.cluster.Apply(ctx, secret, client.FieldOwner(owner), client.ForceOwnership); err != nil {
		return 0, fmt.Errorf("applying secret %s: %w", target(external), err)
	}
	if spec.RefreshInterval == nil {
		return defaultRefresh, nil
	}
	return spec.RefreshInterval.Duration, nil
}

// fetch reads the parameters and returns the Secret's data.
func (e externalSecrets) fetch(ctx context.Context, spec secretSpec) (map[string][]byte, error) {
	fetched, plain := map[string]string{}, map[string][]byte{}
	for _, d := range spec.Data {
		name := d.RemoteRef.Key
		if d.RemoteRef.Version != "" {
			name += ":" + d.RemoteRef.Version
		}
		value, err := parameter(ctx, e.aws, name)
		if err != nil {
			return nil, err
		}
		fetched[d.SecretKey], plain[d.SecretKey] = value, []byte(value)
	}
	if spec.Target.Template == nil || len(spec.Target.Template.Data) == 0 {
		return plain, nil
	}
	return render(spec.Target.Template.Data, fetched)
}

// target returns the name of an ExternalSecret's Secret.
func target(external *unstructured.Unstructured) string {
	if name, _, _ := unstructured.NestedString(external.Object, "spec", "target", "name"); name != "" {
		return name
	}
	return external.GetName()
}
