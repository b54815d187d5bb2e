package component

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"eco2/rehearsal/calico/vxlan"
)

// API is the part of the Kubernetes API that is used here: Nodes, and what NetworkPolicies are about. A
// clientset would bring every other kind along, in the time to build as in the memory of each of the
// cluster's nodes.
type API struct {
	core, networking rest.Interface
}

// Connect reaches the API server as a pod does, with its service account.
func Connect() (API, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return API{}, fmt.Errorf("finding the API server: %w", err)
	}
	return newAPI(config)
}

func newAPI(config *rest.Config) (API, error) {
	core, err := client(config, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return API{}, err
	}
	networking, err := client(config, "/apis", networkingv1.SchemeGroupVersion, networkingv1.AddToScheme)
	return API{core, networking}, err
}

// client speaks to one group of the API.
func client(config *rest.Config, path string, group schema.GroupVersion, add func(*runtime.Scheme) error) (rest.Interface, error) {
	kinds := runtime.NewScheme()
	if err := add(kinds); err != nil {
		return nil, fmt.Errorf("preparing the client: %w", err)
	}
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = path, &group
	config.NegotiatedSerializer = serializer.NewCodecFactory(kinds).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = "calico-stand-in"
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the client: %w", err)
	}
	return client, nil
}

func (a API) node(ctx context.Context, name string) (*corev1.Node, error) {
	node := &corev1.Node{}
	err := a.core.Get().Resource("nodes").Name(name).Do(ctx).Into(node)
	return node, err
}

func (a API) nodes() cache.ListerWatcher {
	return cache.NewListWatchFromClient(a.core, "nodes", metav1.NamespaceAll, fields.Everything())
}

// ready asks whether the API server answers.
func (a API) ready(ctx context.Context) error {
	return a.core.Get().AbsPath("/readyz").Do(ctx).Error()
}

// reportNetwork sets the condition of the node that says that its network is there. Where a cloud's
// controller set it to true, pods are kept off the node until then.
func (a API) reportNetwork(ctx context.Context, name string) error {
	now := metav1.NewTime(time.Now())
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse,
		Reason: "CalicoIsUp", Message: "Pods of all nodes can be reached from this one",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}}}})
	if err == nil {
		err = a.core.Patch(types.StrategicMergePatchType).Resource("nodes").Name(name).SubResource("status").
			Body(patch).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("setting NetworkUnavailable of node %s: %w", name, err)
	}
	return nil
}

// watch keeps all Nodes in the store it returns, each only with what is used here.
func watch(nodes cache.ListerWatcher, handler cache.ResourceEventHandler) (cache.Store, cache.Controller) {
	return cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: nodes, ObjectType: &corev1.Node{}, Transform: strip, Handler: handler,
	})
}

// onChange calls changed whenever stripped objects differ in what is used here. Heartbeats are no change.
func onChange(changed func()) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() },
		UpdateFunc: func(before, after any) {
			if !equality.Semantic.DeepEqual(unversioned(before), unversioned(after)) {
				changed()
			}
		},
		DeleteFunc: func(any) { changed() },
	}
}

// unversioned is a copy of the object without what counts its changes.
func unversioned(object any) runtime.Object {
	copied := object.(runtime.Object).DeepCopyObject()
	copied.(metav1.Object).SetResourceVersion("")
	return copied
}

// strip leaves of a Node what is used here.
func strip(object any) (any, error) {
	node, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	stripped := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, UID: node.UID, ResourceVersion: node.ResourceVersion},
		Spec:       corev1.NodeSpec{PodCIDR: node.Spec.PodCIDR, PodCIDRs: node.Spec.PodCIDRs},
		Status:     corev1.NodeStatus{Addresses: node.Status.Addresses},
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			stripped.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return stripped, nil
}

// networkReported says whether the node's condition is what reportNetwork sets.
func networkReported(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			return c.Status == corev1.ConditionFalse
		}
	}
	return false
}

// describe is the data plane's view of a Node. One that has just joined may lack its pod network or its
// address: that is an error, which names what is missing.
func describe(node *corev1.Node) (vxlan.Node, error) {
	described := vxlan.Node{Name: node.Name}
	for _, text := range append([]string{node.Spec.PodCIDR}, node.Spec.PodCIDRs...) {
		if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Addr().Is4() {
			described.PodCIDR = prefix.Masked()
			break
		}
	}
	for _, a := range node.Status.Addresses {
		if address, err := netip.ParseAddr(a.Address); a.Type == corev1.NodeInternalIP && err == nil && address.Is4() {
			described.Address = address
			break
		}
	}
	if !described.PodCIDR.IsValid() {
		return described, fmt.Errorf("node %s has no IPv4 pod network (spec.podCIDR) yet", node.Name)
	}
	if !described.Address.IsValid() {
		return described, fmt.Errorf("node %s has no IPv4 InternalIP yet", node.Name)
	}
	return described, nil
}
