package component

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"eco2/rehearsal/calico/endpoint"
	"eco2/rehearsal/calico/policy"
)

// kernel remembers what it was given last.
type kernel struct {
	mu       sync.Mutex
	fails    error
	rules    policy.Ruleset
	programs int
}

func (k *kernel) program(r policy.Ruleset) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.programs++
	k.rules = r
	return k.fails
}

func (k *kernel) shows(t *testing.T, ingress ...policy.Guard) {
	t.Helper()
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		k.mu.Lock()
		defer k.mu.Unlock()
		assert.Equal(c, ingress, k.rules.Ingress)
	}, 10*time.Second, 5*time.Millisecond)
}

// enforced is a cluster in which the enforcer of node 192.168.0.0/24 runs.
type enforced struct {
	*enforcer
	namespaces, pods, policies *cachetesting.FakeControllerSource
}

func enforce(t *testing.T, k *kernel) enforced {
	source := func() *cachetesting.FakeControllerSource {
		s := cachetesting.NewFakeControllerSource()
		t.Cleanup(s.Shutdown)
		return s
	}
	e := enforced{newEnforcer(k.program), source(), source(), source()}
	e.retry = 10 * time.Millisecond
	e.namespaces.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- e.run(ctx, netip.MustParsePrefix("192.168.0.0/24"), subjects{e.namespaces, e.pods, e.policies})
	}()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
	return e
}

// webPod is a pod whose UID is its name.
func webPod(name, address string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name, UID: types.UID(name)}, Status: corev1.PodStatus{PodIP: address}}
}

func TestRulesFollowPodsAndPolicies(t *testing.T) {
	k := &kernel{}
	e := enforce(t, k)
	a, b := netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("192.168.0.3")

	e.pods.Add(webPod("a", ""))
	e.pods.Modify(webPod("a", a.String()))
	k.shows(t, policy.Guard{Pods: []netip.Addr{a}})
	closed := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "closed"}}
	e.policies.Add(closed)
	k.shows(t, policy.Guard{Pods: []netip.Addr{a}, Isolated: true})
	e.pods.Add(webPod("b", b.String()))
	k.shows(t, policy.Guard{Pods: []netip.Addr{a, b}, Isolated: true})
	open := closed.DeepCopy()
	open.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	e.policies.Modify(open)
	k.shows(t, policy.Guard{Pods: []netip.Addr{a, b}, Isolated: true, Open: []policy.Opening{{Policy: "web/closed"}}})
	e.pods.Delete(webPod("a", a.String()))
	e.policies.Delete(open)
	k.shows(t, policy.Guard{Pods: []netip.Addr{b}})
}

// The CNI plugin knows an address before the API server does.
func TestAnAnnouncedPodHasItsRulesBeforeItStarts(t *testing.T) {
	k := &kernel{}
	e := enforce(t, k)
	socket := filepath.Join(t.TempDir(), "endpoint.sock")
	listener, err := endpoint.Listen(socket)
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- endpoint.Serve(serving, listener, e.enforce) }()
	t.Cleanup(func() {
		stop()
		assert.ErrorIs(t, <-done, context.Canceled)
	})

	old, address := netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("192.168.0.3")
	announce := func(uid string, a netip.Addr) {
		t.Helper()
		require.NoError(t, endpoint.Announce(t.Context(), socket, endpoint.Endpoint{Namespace: "web", Pod: "a", UID: uid, Address: a}))
	}
	e.pods.Add(webPod("a", ""))
	announce("a", old)
	k.shows(t, policy.Guard{Pods: []netip.Addr{old}})
	e.pods.Modify(webPod("a", old.String()))

	e.pods.Delete(webPod("a", old.String()))
	next := webPod("a", "")
	next.UID = "next"
	e.pods.Add(next)
	announce("next", address)
	k.shows(t, policy.Guard{Pods: []netip.Addr{address}})

	short, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, e.enforce(short, endpoint.Endpoint{Namespace: "web", Pod: "unheard of", UID: "unheard of", Address: old}), context.Canceled)
}

func TestAnAnnouncementIsOfOnePod(t *testing.T) {
	a := &newEnforcer(nil).announced
	a.add(endpoint.Endpoint{Namespace: "web", Pod: "a", UID: "a", Address: netip.MustParseAddr("192.168.0.3")})
	elsewhere := webPod("a", "192.168.1.4") // it has the name, on another node
	elsewhere.UID = "elsewhere"
	completed := a.complete([]*corev1.Pod{webPod("a", "192.168.0.2"), elsewhere})
	assert.Equal(t, "192.168.0.3", completed[0].Status.PodIP)
	assert.Equal(t, "192.168.1.4", completed[1].Status.PodIP)
}

func TestAnnouncementsAreForgotten(t *testing.T) {
	e := newEnforcer(nil)
	a := &e.announced
	a.add(endpoint.Endpoint{Namespace: "web", Pod: "a", UID: "a", Address: netip.MustParseAddr("192.168.0.3")})
	told := a.addresses["a"]
	told.told = told.told.Add(-2 * believed)
	a.addresses["a"] = told
	assert.Equal(t, "192.168.0.2", a.complete([]*corev1.Pod{webPod("a", "192.168.0.2")})[0].Status.PodIP)
	a.enforced(nil)
	assert.Empty(t, a.addresses)
}

func TestTheEnforcerIsReadyOnceRulesAreProgrammed(t *testing.T) {
	k := &kernel{fails: errors.New("no such family")}
	assert.EqualError(t, newEnforcer(k.program).passes.ready(t.Context()), "the NetworkPolicies are not known yet")
	e := enforce(t, k)
	becomes := func(want error) {
		t.Helper()
		assert.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, want, e.passes.ready(t.Context()))
		}, 10*time.Second, 5*time.Millisecond)
	}
	becomes(k.fails)
	k.mu.Lock()
	k.fails = nil
	k.mu.Unlock()
	becomes(nil)
}

func TestTheSameRulesAreNotProgrammedAgain(t *testing.T) {
	k := &kernel{}
	e := newEnforcer(k.program)
	network := netip.MustParsePrefix("192.168.0.0/24")
	c := policy.Cluster{Pods: []*corev1.Pod{webPod("a", "192.168.0.2")}}
	require.NoError(t, e.pass(network, c))
	c.Pods = append(c.Pods, webPod("elsewhere", "192.168.1.2"))
	require.NoError(t, e.pass(network, c))
	assert.Equal(t, 1, k.programs)
	e.when = e.when.Add(-refresh)
	require.NoError(t, e.pass(network, c))
	assert.Equal(t, 2, k.programs, "somebody may have changed the kernel's")
}

func TestPodsAreKeptForWhatPoliciesLookAt(t *testing.T) {
	pod := webPod("a", "192.168.0.2")
	pod.Labels, pod.Annotations = map[string]string{"app": "a"}, map[string]string{"note": "long"}
	pod.Spec.NodeName = "node"
	pod.Spec.Containers = []corev1.Container{
		{Name: "one", Image: "image", Ports: []corev1.ContainerPort{{ContainerPort: 1}, {Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}},
		{Name: "two", Image: "image"},
	}
	stripped, err := stripPod(pod)
	require.NoError(t, err)
	want := webPod("a", "192.168.0.2")
	want.Labels = pod.Labels
	want.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80, Protocol: corev1.ProtocolTCP}}}}
	assert.Equal(t, want, stripped)

	beaten := pod.DeepCopy()
	beaten.ResourceVersion, beaten.Status.Conditions = "2", []corev1.PodCondition{{Type: corev1.PodReady}}
	again, err := stripPod(beaten)
	require.NoError(t, err)
	onChange(func() { assert.Fail(t, "nothing that is used has changed") }).OnUpdate(stripped, again)
}
