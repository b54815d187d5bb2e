package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"eco2/rehearsal/cluster/provider"
)

// pollEvery is the interval at which waits read an object.
const pollEvery = 500 * time.Millisecond

// await waits until an object is ready and returns its state then. Objects of kinds that the real provider does not
// wait for are ready at once.
func (c *Cluster) await(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ref := provider.Manifest(object.Object).Ref()
	served, err := c.resource(ref)
	if err != nil {
		return object, err
	}
	var reason string
	err = wait.PollUntilContextCancel(ctx, pollEvery, true, func(ctx context.Context) (bool, error) {
		if reason, err = c.unreadyReason(ctx, object); err != nil || reason == "" {
			return true, err
		}
		now, err := served.Get(ctx, ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return false, errors.New("somebody deleted it during the wait")
		case err == nil:
			object = now
		}
		return false, nil // on other errors try again: the API server may be unavailable for a moment
	})
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%s: %s%s", whyDone(ctx), reason, c.warnings(ctx, ref))
	}
	return object, err
}

// whyDone says why the context of a wait is done.
func whyDone(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "it took too long"
	}
	return "interrupted"
}

// unreadyReason says why an object is not ready; it is empty if the object is ready. An error means that the object
// will never become ready.
func (c *Cluster) unreadyReason(ctx context.Context, object *unstructured.Unstructured) (string, error) {
	switch kind := object.GroupVersionKind().GroupKind(); kind.String() {
	case "Namespace":
		return phaseReason(object, "Active"), nil
	case "Service":
		return c.serviceReason(ctx, object), nil
	case "Ingress.networking.k8s.io":
		return addressReason(object), nil
	case "PersistentVolumeClaim":
		return c.claimReason(ctx, object), nil
	case "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "Job.batch", "Pod", "CustomResourceDefinition.apiextensions.k8s.io":
		result, err := status.Compute(object)
		switch {
		case err != nil:
			return "", fmt.Errorf("reading its status: %w", err)
		case result.Status == status.CurrentStatus:
			return "", nil
		case result.Status == status.FailedStatus && kind.Kind == "Job":
			return "", errors.New(result.Message)
		default:
			return result.Message, nil
		}
	default:
		return "", nil
	}
}

func phaseReason(object *unstructured.Unstructured, expected ...string) string {
	is, _, _ := unstructured.NestedString(object.Object, "status", "phase")
	if slices.Contains(expected, is) {
		return ""
	}
	return fmt.Sprintf("its phase is %q, and should be %s", is, strings.Join(expected, " or "))
}

// addressReason is unreadyReason for objects that a load balancer controller gives an address.
func addressReason(object *unstructured.Unstructured) string {
	if addresses, _, _ := unstructured.NestedSlice(object.Object, "status", "loadBalancer", "ingress"); len(addresses) > 0 {
		return ""
	}
	return "no controller has given it an address"
}

var endpointSlices = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}

func (c *Cluster) serviceReason(ctx context.Context, service *unstructured.Unstructured) string {
	kind, _, _ := unstructured.NestedString(service.Object, "spec", "type")
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	if kind == "LoadBalancer" {
		if reason := addressReason(service); reason != "" {
			return reason
		}
	}
	if kind == "ExternalName" || len(selector) == 0 {
		return ""
	}
	slices, err := c.objects.Resource(endpointSlices).Namespace(service.GetNamespace()).
		List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service.GetName()})
	if err != nil {
		return "its endpoints cannot be read: " + err.Error()
	}
	for _, slice := range slices.Items {
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "endpoints")
		for _, endpoint := range endpoints {
			if fields, ok := endpoint.(map[string]any); ok {
				if ready, _, _ := unstructured.NestedBool(fields, "conditions", "ready"); ready {
					return ""
				}
			}
		}
	}
	return "no ready pod is behind it"
}

var storageClasses = schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}

// claimReason is unreadyReason for a claim. A pending claim is ready if its storage class binds claims only when a pod
// uses them.
func (c *Cluster) claimReason(ctx context.Context, claim *unstructured.Unstructured) string {
	expected := []string{"Bound"}
	if name, _, _ := unstructured.NestedString(claim.Object, "spec", "storageClassName"); name != "" {
		class, err := c.objects.Resource(storageClasses).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "its storage class cannot be read: " + err.Error()
		}
		if err == nil {
			if mode, _, _ := unstructured.NestedString(class.Object, "volumeBindingMode"); mode == "WaitForFirstConsumer" {
				expected = append(expected, "Pending")
			}
		}
	}
	return phaseReason(claim, expected...)
}

func conditions(object *unstructured.Unstructured) []metav1.Condition {
	var read struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &read); err != nil {
		return nil
	}
	return read.Status.Conditions
}

var events = schema.GroupVersionResource{Version: "v1", Resource: "events"}

// warnings returns the warning events of an object, and of the objects that its controllers named after it.
func (c *Cluster) warnings(ctx context.Context, ref provider.Ref) string {
	// The caller's context is done already.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer stop()
	list, err := c.objects.Resource(events).Namespace(ref.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return ""
	}
	var text strings.Builder
	for _, event := range list.Items {
		about, _, _ := unstructured.NestedString(event.Object, "involvedObject", "name")
		kind, _, _ := unstructured.NestedString(event.Object, "involvedObject", "kind")
		if about != ref.Name && !strings.HasPrefix(about, ref.Name+"-") {
			continue
		}
		message, _, _ := unstructured.NestedString(event.Object, "message")
		fmt.Fprintf(&text, "; %s %s: %s", kind, about, message)
	}
	return text.String()
}
