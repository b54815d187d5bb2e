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

	"eco2/rehearsal/kubernetes"
)

// The annotations by which a program says how the provider waits.
const (
	skipAwait = "pulumi.com/skipAwait"
	waitFor   = "pulumi.com/waitFor"
)

// retries are for a new object whose namespace or definition is still on its way, as in the real provider.
var retries = wait.Backoff{Duration: time.Second, Factor: 2, Steps: 6}

// Get implements kubernetes.Cluster.
func (c *Cluster) Get(ctx context.Context, ref kubernetes.Ref) (kubernetes.Manifest, error) {
	served, err := c.resource(ref)
	if err != nil {
		return nil, notFound(ref, err)
	}
	live, err := served.Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, notFound(ref, err)
	}
	return shown(live), nil
}

// notFound is kubernetes.ErrNotFound where an object is not there; without its definition none is.
func notFound(ref kubernetes.Ref, err error) error {
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return fmt.Errorf("%s %w", ref, kubernetes.ErrNotFound)
	}
	return err
}

// Apply implements kubernetes.Cluster.
func (c *Cluster) Apply(ctx context.Context, manifest kubernetes.Manifest, options kubernetes.ApplyOptions) (kubernetes.Manifest, error) {
	ref := manifest.Ref()
	annotations, _, _ := unstructured.NestedStringMap(manifest, "metadata", "annotations")
	switch {
	case ref.Name == "":
		return nil, errors.New("metadata.name: required value")
	case annotations[waitFor] != "":
		return nil, fmt.Errorf("the rehearsal does not wait for what the annotation %s says", waitFor)
	}
	object, err := c.apply(ctx, manifest, options)
	if err != nil {
		return nil, withoutSecrets(refused(err), secretsIn(manifest), ref.Name, ref.Namespace)
	}
	if annotations[skipAwait] == "true" {
		return shown(object), nil
	}
	object, err = c.await(ctx, object)
	if err != nil {
		err = &kubernetes.UnreadyError{Reason: err}
	}
	return shown(object), err
}

func (c *Cluster) apply(ctx context.Context, manifest kubernetes.Manifest, options kubernetes.ApplyOptions) (live *unstructured.Unstructured, err error) {
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
		if options.New {
			// An apply does not tell a new object from one that is there.
			switch _, err := served.Get(ctx, ref.Name, metav1.GetOptions{}); {
			case err == nil:
				return kubernetes.AlreadyExists(ref)
			case !apierrors.IsNotFound(err):
				return err
			}
		}
		live, err = served.Patch(ctx, ref.Name, types.ApplyPatchType, data, metav1.PatchOptions{
			FieldManager: options.Manager, Force: &options.Force,
			// The real provider only warns of fields that do not exist.
			FieldValidation: metav1.FieldValidationStrict,
		})
		return err
	}
	var missing error
	err = wait.ExponentialBackoffWithContext(ctx, retries, func(ctx context.Context) (bool, error) {
		err := try(ctx)
		if options.New && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)) {
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

// refused adds the way out to a conflict, which names the field and the manager that has it already.
func refused(err error) error {
	if apierrors.IsConflict(err) && apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		return fmt.Errorf("%w; to take the fields over, set the annotation pulumi.com/patchForce on the object, or enablePatchForce on the provider", err)
	}
	return err
}

// secretsIn are what a Secret has in its fields.
func secretsIn(manifest kubernetes.Manifest) map[string]any {
	if manifest["apiVersion"] != "v1" || manifest["kind"] != "Secret" {
		return nil
	}
	return map[string]any{"data": manifest["data"], "stringData": manifest["stringData"]}
}

// shown is an object without what only the API server and kubectl need of it. kubectl's annotation would
// also repeat a Secret's contents.
func shown(object *unstructured.Unstructured) kubernetes.Manifest {
	out := object.DeepCopy()
	out.SetManagedFields(nil)
	unstructured.RemoveNestedField(out.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	return out.Object
}

// Delete implements kubernetes.Cluster.
func (c *Cluster) Delete(ctx context.Context, ref kubernetes.Ref) error {
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

// awaitGone waits until an object is gone, or another of its name there.
func (c *Cluster) awaitGone(ctx context.Context, served dynamic.ResourceInterface, object *unstructured.Unstructured) error {
	err := wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		now, err := served.Get(ctx, object.GetName(), metav1.GetOptions{})
		gone := apierrors.IsNotFound(err) || err == nil && now.GetUID() != object.GetUID()
		if err == nil && !gone {
			object = now
		}
		return gone, nil // where it cannot be read, the API server may be back in a moment
	})
	if err != nil {
		return fmt.Errorf("%s: it was deleted and is still there%s", reasonOf(ctx), strings.Join(holding(object), ""))
	}
	return nil
}

// holding is what keeps a deleted object.
func holding(object *unstructured.Unstructured) (reasons []string) {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		reasons = append(reasons, fmt.Sprintf("; the controllers of its finalizers have not let go: %s", strings.Join(finalizers, ", ")))
	}
	// A namespace says there what is left in it.
	for _, condition := range conditions(object) {
		if condition.Status == metav1.ConditionTrue {
			reasons = append(reasons, "; "+condition.Message)
		}
	}
	return reasons
}
