package machines

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/supply/mirror"
)

// cluster is a stack and its cluster, which it accesses with the administrator's kubeconfig.
type cluster struct {
	*world.World
	t *testing.T
	// binary is kubectl, and config its kubeconfig.
	binary, config string
	mirror         mirror.Mirror
	// probers are the probes of network policies, by the namespaces and names of their pods.
	probers map[string]prober
	// from holds the versions of the nodes if those are not the default ones.
	from config.Versions
}

// node holds the fields of a Node that the tests use.
type node struct {
	Metadata struct {
		Name   string
		UID    string
		Labels map[string]string
	}
	Spec struct {
		ProviderID string
		PodCIDR    string
		Taints     []struct{ Key, Value, Effect string }
	}
	Status struct {
		Conditions []struct{ Type, Status string }
		NodeInfo   struct{ BootID, KubeletVersion, ContainerRuntimeVersion string }
	}
}

func (n node) ready() bool {
	for _, condition := range n.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True"
		}
	}
	return false
}

// taints returns the taints in kubectl's format.
func (n node) taints() []string {
	var taints []string
	for _, taint := range n.Spec.Taints {
		taints = append(taints, fmt.Sprintf("%s=%s:%s", taint.Key, taint.Value, taint.Effect))
	}
	return taints
}

// connect writes the kubeconfig from the stack's outputs into a file, which kubectl then uses.
func (c *cluster) connect() {
	c.t.Helper()
	text, err := c.Open().Value(c.t.Context(), "kubeconfig")
	require.NoError(c.t, err)
	c.config = filepath.Join(c.Dir, "kubeconfig")
	require.NoError(c.t, os.WriteFile(c.config, []byte(text), 0o600))
}

// try runs kubectl and returns its output. An error includes what it wrote to stderr.
func (c *cluster) try(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), c.binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.config)
	cmd.Stdin = strings.NewReader(stdin)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return out.String(), err
}

// kubectl runs kubectl and returns its output. It fails the test if kubectl fails.
func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.try("", args...)
	require.NoError(c.t, err)
	return out
}

// nodes returns the cluster's Nodes by name. It fails if the API does not answer within ten seconds.
func (c *cluster) nodes() (map[string]node, error) {
	out, err := c.try("", "get", "nodes", "--output=json", "--request-timeout=10s")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []node }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	nodes := map[string]node{}
	for _, n := range list.Items {
		nodes[n.Metadata.Name] = n
	}
	return nodes, nil
}

// awaitReady waits until there are exactly count Nodes and all of them are Ready, and returns them.
func (c *cluster) awaitReady(count int, within time.Duration) map[string]node {
	c.t.Helper()
	var nodes map[string]node
	require.Eventually(c.t, func() bool {
		var err error
		nodes, err = c.nodes()
		if err != nil || len(nodes) != count {
			return false
		}
		for _, n := range nodes {
			if !n.ready() {
				return false
			}
		}
		return true
	}, within, 3*time.Second, "%d nodes did not become Ready", count)
	return nodes
}

// pod holds the fields of a probe's pod that the tests use.
type pod struct {
	Metadata struct{ Name, UID string }
	Spec     struct{ NodeName string }
	Status   struct {
		PodIP             string
		ContainerStatuses []struct {
			Ready        bool
			RestartCount int
		}
	}
}

// probes returns the probes' pods by the names of their nodes.
func (c *cluster) probes() map[string]pod {
	c.t.Helper()
	var list struct{ Items []pod }
	require.NoError(c.t, json.Unmarshal([]byte(c.kubectl("get", "pods", "--selector=app=probe", "--output=json")), &list))
	pods := map[string]pod{}
	for _, p := range list.Items {
		pods[p.Spec.NodeName] = p
	}
	return pods
}

// installProbes runs a probe on every node.
func (c *cluster) installProbes() {
	c.t.Helper()
	manifest, err := os.ReadFile("testdata/probe.yaml")
	require.NoError(c.t, err)
	_, err = c.try(string(manifest), "apply", "--filename=-")
	require.NoError(c.t, err)
	c.awaitProbes()
}

func (c *cluster) awaitProbes() {
	c.t.Helper()
	c.kubectl("rollout", "status", "daemonset/probe", "--timeout=240s")
}

// awaitReachable waits until every probe reaches every other one and the service. That can take longer than until the
// Nodes are Ready: a Node keeps the condition that the control plane last knew, and its pods and the cluster's DNS may
// not work yet.
func (c *cluster) awaitReachable() {
	const limit = 3 * time.Minute
	c.t.Helper()
	var pairs []string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(3 * time.Second) {
		if pairs, _ = c.unreachable(); len(pairs) == 0 {
			return
		}
	}
	require.Empty(c.t, pairs, "not reached within %s", limit)
}

// unreachable connects from every node's probe to every other's and to the service's name, and returns the pairs that
// fail. asked counts the attempts between two different nodes.
func (c *cluster) unreachable() (pairs []string, asked int) {
	c.t.Helper()
	probes := c.probes()
	for from, prober := range probes {
		hosts, names := []string{"probe.default.svc.cluster.local"}, map[string]string{}
		for to, other := range probes {
			if to != from {
				hosts = append(hosts, other.Status.PodIP)
				names[other.Status.PodIP] = to
				asked++
			}
		}
		out, err := c.try("", append([]string{"exec", prober.Metadata.Name, "--", "/probe", "ask"}, hosts...)...)
		if err != nil {
			pairs = append(pairs, fmt.Sprintf("%s: %v", from, err))
			continue
		}
		for line := range strings.Lines(out) {
			host, answer, _ := strings.Cut(strings.TrimSpace(line), " ")
			_, isNode := probes[answer]
			if want, isPod := names[host]; (isPod && answer != want) || !isNode {
				pairs = append(pairs, fmt.Sprintf("%s to %s %s: %s", from, want, host, answer))
			}
		}
	}
	return pairs, asked
}
