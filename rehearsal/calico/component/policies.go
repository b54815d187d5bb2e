package component

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"eco2/rehearsal/calico/endpoint"
	"eco2/rehearsal/calico/policy"
)

// subjects are what policies are and what they are about: all of the cluster's, as a selector may find any.
type subjects struct {
	namespaces, pods, policies cache.ListerWatcher
}

func (a API) policies() subjects {
	list := cache.NewListWatchFromClient
	return subjects{
		namespaces: list(a.core, "namespaces", metav1.NamespaceAll, fields.Everything()),
		// Those with an address of their own. One that has ended may have left it to another.
		pods: list(a.core, "pods", metav1.NamespaceAll,
			fields.ParseSelectorOrDie("spec.hostNetwork=false,status.phase!=Succeeded,status.phase!=Failed")),
		policies: list(a.networking, "networkpolicies", metav1.NamespaceAll, fields.Everything()),
	}
}

// enforcer keeps the rules for one node's pods as the cluster's NetworkPolicies say.
type enforcer struct {
	*loop
	program func(policy.Ruleset) error
	// rules are what was programmed last, and when; nothing before.
	rules     *policy.Ruleset
	when      time.Time
	announced announced
}

func newEnforcer(program func(policy.Ruleset) error) *enforcer {
	return &enforcer{
		loop: newLoop("enforcing NetworkPolicies", "the NetworkPolicies are not known yet"), program: program,
		announced: announced{addresses: map[types.UID]announcement{}, passed: make(chan struct{})},
	}
}

// enforce returns once the rules of a pod that has just been given its address are programmed.
func (e *enforcer) enforce(ctx context.Context, pod endpoint.Endpoint) error {
	e.announced.add(pod)
	e.wake()
	return e.announced.await(ctx, pod)
}

// run enforces on the pods with addresses of the network. Until everything is known, what the kernel has
// stays: rules of the agent before this one, or none on a node that has just come.
func (e *enforcer) run(ctx context.Context, network netip.Prefix, s subjects) error {
	keep := func(from cache.ListerWatcher, kind runtime.Object, strip cache.TransformFunc) (cache.Store, cache.InformerSynced) {
		store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: from, ObjectType: kind, Transform: strip, Handler: onChange(e.wake),
		})
		go informer.RunWithContext(ctx)
		return store, informer.HasSynced
	}
	namespaces, namespacesKnown := keep(s.namespaces, &corev1.Namespace{}, stripNamespace)
	pods, podsKnown := keep(s.pods, &corev1.Pod{}, stripPod)
	policies, policiesKnown := keep(s.policies, &networkingv1.NetworkPolicy{}, stripPolicy)
	if !cache.WaitForCacheSync(ctx.Done(), namespacesKnown, podsKnown, policiesKnown) {
		return ctx.Err()
	}
	return e.loop.run(ctx, func(context.Context) (string, error) {
		known := e.announced.complete(listed[*corev1.Pod](pods))
		err := e.pass(network, policy.Cluster{
			Namespaces: listed[*corev1.Namespace](namespaces),
			Pods:       known,
			Policies:   listed[*networkingv1.NetworkPolicy](policies),
		})
		if err == nil {
			e.announced.enforced(known)
		}
		return fmt.Sprintf("enforcing NetworkPolicies: %d", len(policies.ListKeys())), err
	})
}

// pass programs what is new, and repairs from time to time what somebody changed.
func (e *enforcer) pass(network netip.Prefix, c policy.Cluster) error {
	rules, problem := c.Compile(network)
	if e.rules != nil && reflect.DeepEqual(*e.rules, rules) && time.Since(e.when) < refresh {
		return problem
	}
	if err := e.program(rules); err != nil {
		return err
	}
	e.rules, e.when = &rules, time.Now()
	return problem
}

func listed[T any](store cache.Store) (all []T) {
	for _, object := range store.List() {
		all = append(all, object.(T))
	}
	return all
}

// What follows leaves of objects what policies look at.

func stripNamespace(object any) (any, error) {
	namespace, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	return &corev1.Namespace{ObjectMeta: stripMeta(namespace)}, nil
}

func stripPod(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	stripped := &corev1.Pod{
		ObjectMeta: stripMeta(pod),
		Spec:       corev1.PodSpec{HostNetwork: pod.Spec.HostNetwork},
		Status:     corev1.PodStatus{PodIP: pod.Status.PodIP},
	}
	for _, container := range pod.Spec.Containers {
		var named []corev1.ContainerPort
		for _, port := range container.Ports {
			if port.Name != "" {
				named = append(named, corev1.ContainerPort{Name: port.Name, ContainerPort: port.ContainerPort, Protocol: port.Protocol})
			}
		}
		if named != nil {
			stripped.Spec.Containers = append(stripped.Spec.Containers, corev1.Container{Ports: named})
		}
	}
	return stripped, nil
}

func stripPolicy(object any) (any, error) {
	p, ok := object.(*networkingv1.NetworkPolicy)
	if !ok {
		return object, nil
	}
	return &networkingv1.NetworkPolicy{ObjectMeta: stripMeta(p), Spec: p.Spec}, nil
}

func stripMeta(object metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
		ResourceVersion: object.GetResourceVersion(), Labels: object.GetLabels(),
	}
}
