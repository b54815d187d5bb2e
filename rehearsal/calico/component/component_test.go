package component

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"eco2/rehearsal/calico/vxlan"
)

func node(name, address, podCIDR string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if address != "" {
		n.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address},
		}
	}
	if podCIDR != "" {
		n.Spec.PodCIDR, n.Spec.PodCIDRs = podCIDR, []string{podCIDR}
	}
	return n
}

// plane remembers what it was asked to program last.
type plane struct {
	mu       sync.Mutex
	fails    error
	others   map[string]string
	passes   int
	reported int
}

func (p *plane) program(_ vxlan.Node, others []vxlan.Node) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passes++
	p.others = map[string]string{}
	for _, n := range others {
		p.others[n.Name] = n.Address.String() + " " + n.PodCIDR.String()
	}
	return p.fails
}

func (p *plane) report(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reported++
	return nil
}

func (p *plane) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = err
}

func (p *plane) shows(t *testing.T, others map[string]string) {
	t.Helper()
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.Equal(c, others, p.others)
	}, 10*time.Second, 5*time.Millisecond)
}

// start runs an agent for node a.
func start(t *testing.T, nodes cache.ListerWatcher, p *plane) *agent {
	a := newAgent("a", p.program, p.report)
	a.retry = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.run(ctx, nodes) }()
	t.Cleanup(func() {
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
	})
	return a
}

func TestTheAgentFollowsTheNodes(t *testing.T) {
	nodes := cachetesting.NewFakeControllerSource()
	t.Cleanup(nodes.Shutdown)
	nodes.Add(node("a", "10.0.0.1", "192.168.0.0/24"))
	nodes.Add(node("b", "10.0.0.2", "192.168.1.0/24"))
	nodes.Add(node("c", "10.0.0.3", "")) // has just joined
	p := &plane{}
	start(t, nodes, p)

	p.shows(t, map[string]string{"b": "10.0.0.2 192.168.1.0/24"})
	nodes.Modify(node("c", "10.0.0.3", "192.168.2.0/24"))
	p.shows(t, map[string]string{"b": "10.0.0.2 192.168.1.0/24", "c": "10.0.0.3 192.168.2.0/24"})
	nodes.Modify(node("b", "10.0.0.22", "192.168.1.0/24"))
	p.shows(t, map[string]string{"b": "10.0.0.22 192.168.1.0/24", "c": "10.0.0.3 192.168.2.0/24"})
	nodes.Delete(node("b", "10.0.0.22", "192.168.1.0/24"))
	p.shows(t, map[string]string{"c": "10.0.0.3 192.168.2.0/24"})
}

func TestHeartbeatsAreNoChange(t *testing.T) {
	before := node("b", "10.0.0.2", "192.168.1.0/24")
	beaten := before.DeepCopy()
	beaten.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	moved := node("b", "10.0.0.22", "192.168.1.0/24")
	changes := 0
	handler := onChange(func() { changes++ })
	for _, after := range []*corev1.Node{beaten, moved} {
		old, err := strip(before)
		require.NoError(t, err)
		new, err := strip(after)
		require.NoError(t, err)
		handler.OnUpdate(old, new)
	}
	assert.Equal(t, 1, changes)
}

func TestTheAgentIsReadyOnceAllIsProgrammed(t *testing.T) {
	nodes := cachetesting.NewFakeControllerSource()
	t.Cleanup(nodes.Shutdown)
	nodes.Add(node("b", "10.0.0.2", "192.168.1.0/24"))
	p := &plane{fails: errors.New("no such device")}
	assert.Error(t, newAgent("a", p.program, p.report).passes.ready(t.Context()), "before it runs")
	a := start(t, nodes, p)

	becomes := func(message string) {
		t.Helper()
		assert.EventuallyWithT(t, func(c *assert.CollectT) {
			err := a.passes.ready(t.Context())
			if message == "" {
				assert.NoError(c, err)
			} else {
				assert.EqualError(c, err, message)
			}
		}, 10*time.Second, 5*time.Millisecond)
	}
	becomes("there is no Node a")
	nodes.Add(node("a", "", "192.168.0.0/24"))
	becomes("node a has no IPv4 InternalIP yet")
	nodes.Modify(node("a", "10.0.0.1", "192.168.0.0/24"))
	becomes("no such device")
	p.fail(nil)
	becomes("") // though no Node changed
	assert.NoError(t, a.passes.live(t.Context()))
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Equal(t, 1, p.reported)
}

func TestTheConditionIsSetOnlyWhereItIsNot(t *testing.T) {
	for status, reports := range map[corev1.ConditionStatus]int{corev1.ConditionTrue: 1, corev1.ConditionFalse: 0} {
		n := node("a", "10.0.0.1", "192.168.0.0/24")
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: status}}
		store := cache.NewStore(cache.MetaNamespaceKeyFunc)
		require.NoError(t, store.Add(n))
		p := &plane{}
		require.NoError(t, newAgent("a", p.program, p.report).pass(t.Context(), store))
		assert.Equal(t, reports, p.reported, status)
	}
}

func TestAPassThatDoesNotEndIsNotAlive(t *testing.T) {
	p := &passes{began: time.Now().Add(-stuck - time.Second)}
	assert.ErrorContains(t, p.live(t.Context()), "has not ended")
	p.end(nil)
	assert.NoError(t, p.live(t.Context()))
}

func TestSettings(t *testing.T) {
	good := map[string]string{
		"NODENAME": "a", "CALICO_NETWORKING_BACKEND": "vxlan", "CALICO_IPV4POOL_CIDR": "192.168.0.0/16",
		"CALICO_IPV4POOL_VXLAN": "Always", "CALICO_IPV4POOL_IPIP": "Never",
		"IP_AUTODETECTION_METHOD": "kubernetes-internal-ip", "FELIX_VXLANMTU": "0",
	}
	s, err := readSettings(func(name string) string { return good[name] })
	require.NoError(t, err)
	assert.Equal(t, "a", s.node)
	assert.Equal(t, "192.168.0.0/16", s.plane.Pool.String())
	assert.False(t, s.plane.CrossSubnet)
	assert.Zero(t, s.plane.MTU)

	for _, c := range []struct{ variable, value, want string }{
		{"NODENAME", "", `NODENAME is "": the name of the Node is needed`},
		{"CALICO_NETWORKING_BACKEND", "bird", `CALICO_NETWORKING_BACKEND is "bird": there is no BGP here, set calico_backend of ConfigMap calico-config to vxlan`},
		{"CALICO_IPV4POOL_IPIP", "Always", `CALICO_IPV4POOL_IPIP is "Always": there is no IP-in-IP here, set Never`},
		{"CALICO_IPV4POOL_VXLAN", "Never", `CALICO_IPV4POOL_VXLAN is "Never": without BGP nothing else connects the nodes, set Always or CrossSubnet`},
		{"IP_AUTODETECTION_METHOD", "", `IP_AUTODETECTION_METHOD is "": a node's address is the one the kubelet reports, set kubernetes-internal-ip`},
		{"CALICO_IPV4POOL_CIDR", "fd00::/64", `CALICO_IPV4POOL_CIDR is "fd00::/64": the IPv4 network of all pods is needed, it is not read from kubeadm's configuration`},
		{"FELIX_VXLANMTU", "jumbo", `FELIX_VXLANMTU is "jumbo": set veth_mtu of ConfigMap calico-config to a number of bytes, or 0`},
	} {
		_, err := readSettings(func(name string) string {
			if name == c.variable {
				return c.value
			}
			return good[name]
		})
		assert.EqualError(t, err, c.want)
	}
	_, err = readSettings(func(string) string { return "" })
	for _, variable := range []string{"NODENAME", "CALICO_NETWORKING_BACKEND", "CALICO_IPV4POOL_VXLAN", "CALICO_IPV4POOL_CIDR"} {
		assert.ErrorContains(t, err, variable, "all at once")
	}
}

func TestCNIConfigurationAppearsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "10-calico.conflist")
	for _, text := range []string{"first", "second"} {
		require.NoError(t, writeConfig(path, []byte(text)))
		found, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, text, string(found))
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing half-made beside it")
}

func TestMissingPluginsAreNamed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bridge"), nil, 0o755))
	config := []byte(`{"plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}]}`)
	assert.EqualError(t, checkPlugins(dir, config),
		"the node has no CNI plugin host-local in /opt/cni/bin; the package kubernetes-cni has it\n"+
			"the node has no CNI plugin portmap in /opt/cni/bin; the package kubernetes-cni has it")
	for _, name := range []string{"host-local", "portmap"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
	}
	assert.NoError(t, checkPlugins(dir, config))
	assert.ErrorContains(t, checkPlugins(dir, []byte("{")), "cni_network_config of ConfigMap calico-config")
}

func TestProbesAreAnswered(t *testing.T) {
	address := "127.0.0.1:" + freePort()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	ok := func(context.Context) error { return nil }
	no := func(context.Context) error { return errors.New("not yet") }
	go func() {
		done <- serve(ctx, address, probes{live: ok, ready: no}, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		for path, want := range map[string]int{"/liveness": 200, "/readiness": 503} {
			response, err := http.Get("http://" + address + path)
			if assert.NoError(c, err) {
				assert.Equal(c, want, response.StatusCode)
				assert.NoError(c, response.Body.Close())
			}
		}
	}, 10*time.Second, 10*time.Millisecond)
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}

func freePort() string {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	return server.Listener.Addr().String()[len("127.0.0.1:"):]
}

// The condition goes to the Node's status alone, as a patch that leaves its other conditions.
func TestTheConditionIsPatched(t *testing.T) {
	var method, path, contentType string
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method, path, contentType = r.Method, r.URL.Path, r.Header.Get("Content-Type")
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion": "v1", "kind": "Node"}`))
	}))
	defer server.Close()
	api, err := newAPI(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	require.NoError(t, api.reportNetwork(t.Context(), "a"))
	assert.Equal(t, "PATCH /api/v1/nodes/a/status application/strategic-merge-patch+json", method+" "+path+" "+contentType)
	assert.Contains(t, string(body), `"type":"NetworkUnavailable","status":"False"`)
}

func TestThePluginIsInstalledInThePlaceOfAnother(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "image"), filepath.Join(dir, "calico")
	for _, text := range []string{"first", "second"} {
		require.NoError(t, os.WriteFile(from, []byte(text), 0o600))
		require.NoError(t, installPlugin(from, to))
		found, err := os.ReadFile(to)
		require.NoError(t, err)
		assert.Equal(t, text, string(found))
	}
	info, err := os.Stat(to)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode())
	assert.ErrorContains(t, installPlugin(filepath.Join(dir, "none"), to), "installing the CNI plugin")
}
