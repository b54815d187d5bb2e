package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"eco2/rehearsal/cluster/provider"
)

// The annotations by which a program controls whether and for what the provider waits.
const (
	skipAwait = "pulumi.com/skipAwait"
	waitFor   = "pulumi.com/waitFor"
)

// retries is the backoff for a new object whose namespace or definition does not exist yet, as in the real provider.
var retries = wait.Backoff{Duration: time.Second, Factor: 2, Steps: 6}

// Get implements provider.Cluster.
func (c *Cluster) Get(ctx context.Context, ref provider.Ref) (provider.Manifest, error) {
	served, err := c.resource(ref)
	if err != nil {
		return nil, notFound(ref, err)
	}
	live, err := served.Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, notFound(ref, err)
	}
	return withoutNoise(live), nil
}

// notFound returns provider.ErrNotFound, with the object's name, if the object or its kind's definition does not
// exist. It returns other errors as they are.
func notFound(ref provider.Ref, err error) error {
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return fmt.Errorf("%s %w", ref, provider.ErrNotFound)
	}
	return err
}

// Apply implements provider.Cluster.
func (c *Cluster) Apply(ctx context.Context, manifest provider.Manifest, options provider.ApplyOptions) (provider.Manifest, error) {
	ref := manifest.Ref()
	annotations, _, _ := unstructured.NestedStringMap(manifest, "metadata", "annotations")
	switch {
	case ref.Name == "":
		return nil, errors.New("metadata.name: required value")
	case annotations[waitFor] != "":
		return nil, fmt.Errorf("the rehearsal does not support the annotation %s: remove it", waitFor)
	}
	object, err := c.apply(ctx, manifest, options)
	if err != nil {
		return nil, withoutSecrets(withConflictHint(err), secretFields(manifest), ref.Name, ref.Namespace)
	}
	if annotations[skipAwait] == "true" {
		return withoutNoise(object), nil
	}
	object, err = c.await(ctx, object)
	if err != nil {
		err = &provider.UnreadyError{Reason: err}
	}
	return withoutNoise(object), err
}

func (c *Cluster) apply(ctx context.Context, manifest provider.Manifest, options provider.ApplyOptions) (live *unstructured.Unstructured, err error) {
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	ref := manifest.Ref()
	try := func(ctx context.Context) error {
		served, err := c.resource(ref)
		if err != nil {
			return err
		}
		if options.CreateOnly {
			// A server-side apply does not distinguish a new object from an existing one.
			switch _, err := served.Get(ctx, ref.Name, metav1.GetOptions{}); {
			case err == nil:
				return provider.AlreadyExists(ref)
			case !apierrors.IsNotFound(err):
				return err
			}
		}
		live, err = served.Patch(ctx, ref.Name, types.ApplyPatchType, data, metav1.PatchOptions{
			FieldManager: options.Manager, Force: &options.Force,
			// Stricter than the real provider, which only warns about fields that do not exist.
			FieldValidation: metav1.FieldValidationStrict,
		})
		return err
	}
	var missing error
	err = wait.ExponentialBackoffWithContext(ctx, retries, func(ctx context.Context) (bool, error) {
		err := try(ctx)
		if options.CreateOnly && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)) {
			missing = err
			return false, nil
		}
		return true, err
	})
	if missing != nil && (wait.Interrupted(err) || ctx.Err() != nil) {
		err = missing
	}
	return live, err
}

// withConflictHint adds to a field manager conflict how to resolve it. The API server's message already names the
// field and the manager that owns it.
func withConflictHint(err error) error {
	if apierrors.IsConflict(err) && apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("%w; to take the fields over, set the annotation pulumi.com/patchForce on the object, or enablePatchForce on the provider", err)
	}
	return err
}

// secretFields returns a Secret's data and stringData; nil for other kinds.
func secretFields(manifest provider.Manifest) map[string]any {
	if manifest["apiVersion"] != "v1" || manifest["kind"] != "Secret" {
		return nil
	}
	return map[string]any{"data": manifest["data"], "stringData": manifest["stringData"]}
}

// withoutNoise returns an object without the parts that only the API server and kubectl need: managedFields and
// kubectl's last-applied-configuration annotation. The annotation would also repeat a Secret's contents.
func withoutNoise(object *unstructured.Unstructured) provider.Manifest {
	out := object.DeepCopy()
	out.SetManagedFields(nil)
	unstructured.RemoveNestedField(out.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	return out.Object
}

// Delete implements provider.Cluster.
func (c *Cluster) Delete(ctx context.Context, ref provider.Ref) error {
	served, err := c.resource(ref)
	if err != nil {
		return notFound(ref, err)
	}
	object, err := served.Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return notFound(ref, err)
	}
	uid, foreground := object.GetUID(), metav1.DeletePropagationForeground
	err = served.Delete(ctx, ref.Name, metav1.DeleteOptions{
		PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &uid},
	})
	if err != nil {
		return notFound(ref, err)
	}
	return c.awaitGone(ctx, served, object)
}

// awaitGone waits until an object is gone, or another one with the same name exists.
func (c *Cluster) awaitGone(ctx context.Context, served dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		now, err := served.Get(ctx, object.GetName(), metav1.GetOptions{})
		gone := apierrors.IsNotFound(err) || err == nil && now.GetUID() != object.GetUID()
		if err == nil && !gone {
			object = now
		}
		return gone, nil // on other errors try again: the API server may be unavailable for a moment
	})
	if err != nil {
		return fmt.Errorf("%s: it was deleted and still exists%s", whyDone(ctx), strings.Join(deletionBlockers(object), ""))
	}
	return nil
}

// deletionBlockers says what prevents a deleted object from being removed.
func deletionBlockers(object *unstructured.Unstructured) (reasons []string) {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		reasons = append(reasons, fmt.Sprintf("; its controllers have not removed these finalizers: %s", strings.Join(finalizers, ", ")))
	}
	// A namespace's conditions say what it still contains.
	for _, condition := range conditions(object) {
		if condition.Status == metav1.ConditionTrue {
			reasons = append(reasons, "; "+condition.Message)
		}
	}
	return reasons
}
