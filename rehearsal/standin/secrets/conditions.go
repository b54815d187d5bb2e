package secrets

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// condition holds the condition Ready, which both kinds have.
type condition struct {
	Status          corev1.ConditionStatus
	Reason, Message string
}

func readyCondition(o *unstructured.Unstructured) condition {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // on an error there is no condition
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Ready" {
			text := func(key string) string { s, _ := c[key].(string); return s }
			return condition{corev1.ConditionStatus(text("status")), text("reason"), text("message")}
		}
	}
	return condition{}
}

// setReady sets the condition Ready and the fields of rest in an object's status. changed reports whether the condition
// is different from before.
func setReady(ctx context.Context, cluster client.Client, o *unstructured.Unstructured, c condition, rest map[string]any) (changed bool, err error) {
	changed = readyCondition(o) != c
	before := o.DeepCopy()
	for key, value := range rest {
		if err := unstructured.SetNestedField(o.Object, value, "status", key); err != nil {
			return false, fmt.Errorf("setting the status of %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	if changed {
		ready := map[string]any{
			"type": "Ready", "status": string(c.Status), "reason": c.Reason, "message": c.Message,
			"lastTransitionTime": now(),
		}
		if err := unstructured.SetNestedSlice(o.Object, []any{ready}, "status", "conditions"); err != nil {
			return false, fmt.Errorf("setting the status of %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	err = cluster.Status().Patch(ctx, o, client.MergeFrom(before))
	if err = client.IgnoreNotFound(err); err != nil { // it may have been deleted meanwhile
		return false, fmt.Errorf("setting the status of %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return changed, nil
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }
