package rehearse

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// releaseType is the type of what Helm installs.
const releaseType = "kubernetes:helm.sh/v3:Release"

// releases are in the order in which the program's dependencies let them begin.
var releases = []string{
	"aws-load-balancer-controller", "aws-ebs-csi-driver", "external-secrets", "redis-operator",
	"rabbitmq-cluster-operator", "kube-prometheus-stack", "external-dns",
}

// The platform on a cluster of real machines: Argo CD, the releases, what their controllers make in AWS, the workloads
// from Git, and the end of all that.
func TestPlatform(t *testing.T) {
	c := newCluster(t)
	c.OwnHome()
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}

	run("all of the program comes up from nothing", func(t *testing.T) {
		started := time.Now()
		c.Must(c.Up("--event-log", c.events()))
		t.Logf("up took %.0f s", time.Since(started).Seconds())
		c.connect()
		c.awaitReady(14, time.Minute)
		made := c.Changes()
		for _, name := range releases {
			assert.Contains(t, made, "Create "+releaseType+" "+name)
		}
		for _, r := range c.releases() {
			assert.Equal(t, "deployed", r.status, r.name)
		}
	})

	run("each release runs on the nodes that it was given", func(t *testing.T) {
		c.placed(t)
	})

	run("up again changes nothing, and a refresh finds nothing", func(t *testing.T) {
		c.Must(c.Pulumi("refresh", "--yes", "--skip-preview"))
		c.Changes()
		assert.Empty(t, c.Steps())
		c.Must(c.Up())
		assert.Empty(t, c.Changes())
	})
}

// release is what Helm has noted of one, in its Secrets' labels.
type release struct {
	name, status string
	revision     string
}

// releases are the latest revisions of all.
func (c *cluster) releases() map[string]release {
	c.t.Helper()
	found := map[string]release{}
	for _, secret := range get[object](c, "secrets", "--all-namespaces", "--selector=owner=helm") {
		r := release{secret.Metadata.Labels["name"], secret.Metadata.Labels["status"], secret.Metadata.Labels["version"]}
		if before, ok := found[r.name]; !ok || len(before.revision) < len(r.revision) || before.revision < r.revision {
			found[r.name] = r
		}
	}
	return found
}

// object is one of any kind, as far as the tests look at all of them.
type object struct {
	Metadata struct {
		Name, Namespace, UID, CreationTimestamp string
		Labels, Annotations                     map[string]string
	}
	Spec struct {
		NodeName string
	}
}

// get lists objects with kubectl, by its own arguments.
func get[T any](c *cluster, args ...string) []T {
	c.t.Helper()
	var list struct{ Items []T }
	out := c.kubectl(append(append([]string{"get"}, args...), "--output=json")...)
	require.NoError(c.t, json.Unmarshal([]byte(out), &list), "%s", args)
	return list.Items
}

// placed checks on which nodes the pods of each release are.
func (c *cluster) placed(t *testing.T) {
	t.Helper()
	everywhere := slices.Sorted(maps.Keys(c.awaitReady(14, time.Minute)))
	controlPlane, monitoring := []string{"k8s-master"}, []string{"k8s-monitoring"}
	daemons := []string{"ebs-csi-node", "prometheus-node-exporter"}
	nodes := map[string][]string{}
	for _, pod := range get[object](c, "pods", "--all-namespaces") {
		name := pod.Metadata.Labels["app.kubernetes.io/instance"]
		if i := slices.IndexFunc(daemons, func(d string) bool { return strings.Contains(pod.Metadata.Name, d) }); i >= 0 {
			name = daemons[i]
		}
		if name != "" && !slices.Contains(nodes[name], pod.Spec.NodeName) {
			nodes[name] = append(nodes[name], pod.Spec.NodeName)
		}
	}
	for _, name := range releases {
		want := controlPlane
		if name == "kube-prometheus-stack" {
			want = monitoring
		}
		assert.Equal(t, want, nodes[name], name)
	}
	for _, daemon := range daemons {
		assert.ElementsMatch(t, everywhere, nodes[daemon], daemon)
	}
}

var _ = fmt.Sprint
var _ = http.MethodGet
var _ = filepath.Join
