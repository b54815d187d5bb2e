package component

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"eco2/rehearsal/calico/endpoint"
)

// announced are the addresses that the node's CNI plugin has told. The API server has them some seconds later.
type announced struct {
	mu sync.Mutex
	// addresses are by the pods' UIDs: one of the same name may be on another node by now.
	addresses map[types.UID]announcement
	// passed is closed, and another put in its place, when rules were programmed.
	passed chan struct{}
}

// announcement is of one pod.
type announcement struct {
	address  netip.Addr
	told     time.Time
	enforced bool
}

// believed is how long an announcement counts. Long before that the API server knows as much, or the pod is gone.
const believed = time.Minute

func (a *announced) add(e endpoint.Endpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addresses[types.UID(e.UID)] = announcement{address: e.Address, told: time.Now()}
}

// await returns once rules know the pod by its address.
func (a *announced) await(ctx context.Context, e endpoint.Endpoint) error {
	for {
		a.mu.Lock()
		known, passed := a.addresses[types.UID(e.UID)], a.passed
		a.mu.Unlock()
		if known.enforced || known.address != e.Address { // or there is a later one
			return nil
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return fmt.Errorf("no rules for pod %s/%s yet: %w", e.Namespace, e.Pod, ctx.Err())
		}
	}
}

// complete gives pods the addresses that the API server does not know yet.
func (a *announced) complete(pods []*corev1.Pod) []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, pod := range pods {
		told, ok := a.addresses[pod.UID]
		switch {
		case !ok || told.address.String() == pod.Status.PodIP:
		case time.Since(told.told) > believed:
			delete(a.addresses, pod.UID)
		default:
			pods[i] = pod.DeepCopy() // the store's stays as it is
			pods[i].Status.PodIP = told.address.String()
		}
	}
	return pods
}

// enforced notes for which pods rules are programmed, and forgets what is old.
func (a *announced) enforced(pods []*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, pod := range pods {
		if told, ok := a.addresses[pod.UID]; ok && told.address.String() == pod.Status.PodIP {
			told.enforced = true
			a.addresses[pod.UID] = told
		}
	}
	for uid, told := range a.addresses {
		if time.Since(told.told) > believed {
			delete(a.addresses, uid)
		}
	}
	close(a.passed)
	a.passed = make(chan struct{})
}
