// Package machines tests the whole program on real machines: system containers on this host, which the
// program's own scripts turn into a cluster. They need root and take many minutes.
package machines

import (
	"cmp"
	"context"
	"flag"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/internal/listeners"
	"eco2/rehearsal/internal/needs"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply"
	"eco2/rehearsal/supply/mirror"
)

// tools are built by the first test that boots machines.
var tools toolchain.Toolchain

// commandType is the type of the resources that run scripts on machines.
const commandType = "command:remote:Command"

func TestMain(m *testing.M) {
	flag.Parse()
	// This many policies are tested in parallel: most of that time is waiting for dropped packets.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// clusterNodes is how many nodes TestCluster has: all but otherNodes, which TestPlatform has too. Each machine costs time
// in most of the steps, and a step needs no more of them than a control plane and a few workers.
const clusterNodes = 6

var otherNodes = []string{
	"k8s-api-my", "k8s-api-scan", "k8s-api-character", "k8s-api-location", "k8s-api-info", "k8s-api-chat", "k8s-worker-storage", "k8s-worker-ai",
}

// without returns a configuration of the nodes in which the named ones do not exist.
func without(nodes ...string) map[string]any {
	config := map[string]any{}
	for _, node := range nodes {
		config[node] = map[string]any{"count": 0}
	}
	return config
}

// The life of a cluster on real machines, in the usual order.
func TestCluster(t *testing.T) {
	c := newCluster(t, mirror.UpgradeFrom)
	c.OwnHome()
	// The platform is the subject of TestPlatform. Machines and nodes behave the same without it, and are quicker.
	c.Options.Config["platform"] = false
	c.Options.Config["nodes"] = without(otherNodes...)
	c.Options.Config["backup"] = map[string]any{"everyHours": 4}
	c.startFrom(mirror.UpgradeFrom)
	// After a failure the following steps would fail too, and slowly.
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}

	processes := world.WatchProcesses(t)
	var printed, events string
	run("an engine that is killed during the joins leaves nothing that the next update cannot finish", func(t *testing.T) {
		s := c.Open()
		up := s.Command(t.Context(), s.Operation("up")...)
		log, err := os.Create(filepath.Join(c.Dir, "killed.log"))
		require.NoError(t, err)
		up.Stdout, up.Stderr = log, log
		require.NoError(t, up.Start())
		joined := func() int {
			calls, err := plugin.ReadTrace(c.Dir)
			return len(slices.DeleteFunc(calls, func(call plugin.Call) bool {
				return err != nil || call.Method != "Create" || call.Failed || !strings.Contains(call.URN, "::member-")
			}))
		}
		exited := make(chan error, 1)
		go func() { exited <- up.Wait() }()
		for deadline := time.After(15 * time.Minute); joined() < 2; {
			select {
			case err := <-exited:
				require.FailNow(t, "the update exited before two joins", "%v\n%s", err, readFile(t, log.Name()))
			case <-deadline:
				require.FailNow(t, "fewer than two joins in 15 minutes", readFile(t, log.Name()))
			case <-time.After(100 * time.Millisecond):
			}
		}
		require.NoError(t, up.Process.Kill())
		<-exited
		n := joined()
		require.Less(t, n, clusterNodes-1, "the joins were complete before the engine was killed")
		events = c.events()
		printed = c.Must(c.Up("--diff", "--event-log", events))
		c.connect()
	})

	run("no secret is printed or left where others can read it", func(t *testing.T) {
		c.noSecretShows(t, printed, events, processes)
		processes.Stop()
	})

	run("the nodes are what the table says", c.asTheTable)

	run("every node's pod reaches every other's, and a service by its name", func(t *testing.T) {
		c.installProbes()
		pairs, asked := c.unreachable()
		assert.Empty(t, pairs)
		assert.Equal(t, clusterNodes*(clusterNodes-1), asked)
	})

	run("Calico runs as the program configures it", c.network)

	run("up again changes nothing", func(t *testing.T) {
		assert.Empty(t, c.Steps())
		c.Changes()
		c.Must(c.Up())
		assert.Empty(t, c.Changes())
	})

	run("a changed comment in the scripts runs the commands again, and does not change the cluster", func(t *testing.T) {
		nodes, probes := c.awaitReady(clusterNodes, time.Minute), c.probes()
		c.Tools.Program = c.ProgramWithAnotherComment("lib.sh") // every script runs again
		c.Must(c.Up())
		ran := c.Changes()
		for _, name := range []string{"prepare-k8s-master", "prepare-k8s-redis", "init-k8s-master", "calico", "member-k8s-redis", "ready"} {
			assert.Contains(t, ran, "Update "+commandType+" "+name)
		}
		c.same(t, nodes, probes)
		// The following steps use the program with the comment, which saves another update of every command.
	})

	run("one worker is removed: drained, deleted, terminated; nothing else is touched", func(t *testing.T) {
		nodes, probes := c.awaitReady(clusterNodes, time.Minute), c.probes()
		c.Options.Config["nodes"] = without(append(otherNodes, "k8s-redis")...)
		c.Must(c.Up())
		c.InOrder(c.Changes(), "Delete "+commandType+" member-k8s-redis", "Delete aws:ec2/instance:Instance k8s-redis")
		assert.NotContains(t, c.awaitReady(clusterNodes-1, time.Minute), "k8s-redis")
		assert.Len(t, c.machines(), clusterNodes-1)
		delete(nodes, "k8s-redis")
		delete(probes, "k8s-redis")
		c.same(t, nodes, probes)
	})

	run("the removed worker is added again", func(t *testing.T) {
		c.Options.Config["nodes"] = without(otherNodes...)
		c.Must(c.Up())
		c.awaitReady(clusterNodes, time.Minute)
		c.awaitProbes()
		pairs, _ := c.unreachable()
		assert.Empty(t, pairs)
		c.Changes()
	})

	run("AWS terminates one worker's machine: its replacement joins, and stays", func(t *testing.T) {
		before := c.awaitReady(clusterNodes, time.Minute)["k8s-redis"]
		c.terminate("k8s-redis")
		c.Must(c.Up("--refresh"))
		after := c.awaitReady(clusterNodes, time.Minute)["k8s-redis"]
		assert.NotEqual(t, before.Spec.ProviderID, after.Spec.ProviderID)
		assert.Contains(t, after.Spec.ProviderID, c.machines()["k8s-redis"].InstanceID)
		assert.Empty(t, c.Steps())
		c.Changes()
		c.Must(c.Up())
		assert.Empty(t, c.Changes())
		c.awaitReady(clusterNodes, time.Minute)
	})

	run("the control plane's machine is replaced, and the cluster stays", func(t *testing.T) {
		c.replaceControlPlane(t, func() { c.Must(c.Up("--replace", "**Instance::k8s-master")) })
	})

	run("AWS terminates the control plane's machine, and the cluster comes up on a new one", func(t *testing.T) {
		c.replaceControlPlane(t, func() {
			c.terminate("k8s-master")
			// As docs/operations.md describes: the objects of a stack with a platform cannot be refreshed.
			c.Must(c.Pulumi("refresh", "--yes", "--skip-preview", "--exclude", "**kubernetes:**"))
			c.Must(c.Up())
		})
	})

	run("a full volume stops an update, and damaged data is set back to a snapshot", c.restore)

	run("a changed configuration is applied to the control plane and to the kubelets", c.changeConfiguration)

	run("certificates are renewed before they expire", c.renewCertificates)

	run("Kubernetes, containerd and the machines' packages are upgraded by changing settings", c.upgrade)

	run("the commands that docs/operations.md runs on machines work as they stand there", c.runsThePage)

	run("each kubelet has a certificate of the cluster, for its own name and address only", c.kubeletsCertificates)

	run("without the group's rule for itself nodes do not reach each other, and with it the cluster heals", func(t *testing.T) {
		c.revokeSelfRule()
		redis := c.probes()["k8s-redis"].Metadata.Name
		_, err := c.try("", "exec", redis, "--request-timeout=15s", "--", "/probe", "ask", "127.0.0.1")
		require.ErrorContains(t, err, ":10250", "the API server must not reach a kubelet")
		// The control plane's own kubelet is on its own machine.
		var addresses []string
		for node, pod := range c.probes() {
			if node != "k8s-master" {
				addresses = append(addresses, pod.Status.PodIP)
			}
		}
		master := c.probes()["k8s-master"].Metadata.Name
		answers := c.kubectl(append([]string{"exec", master, "--", "/probe", "ask"}, addresses...)...)
		assert.Equal(t, clusterNodes-1, strings.Count(answers, "error: "), answers)

		c.Must(c.Pulumi("refresh", "--yes", "--skip-preview"))
		c.Must(c.Up())
		c.awaitReady(clusterNodes, 3*time.Minute)
		c.awaitReachable()
		assert.Empty(t, c.Steps())
	})

	run("SSH is allowed from the administrator's address only", func(t *testing.T) {
		public := net.JoinHostPort(c.machines()["k8s-redis"].PublicIP, "22")
		conn, err := net.DialTimeout("tcp", public, 5*time.Second)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		// This host's own address in the network, which no rule allows.
		outside := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 76, 0, 1)}}
		_, err = outside.DialContext(t.Context(), "tcp", public)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout(), "the packets must be dropped without an answer: %v", err)
	})

	run("a control plane that was stopped and started works again, and so does a worker that restarted meanwhile", func(t *testing.T) {
		nodes := c.awaitReady(clusterNodes, time.Minute)
		c.docker("stop", "k8s-master")
		_, err := c.nodes()
		require.Error(t, err, "the API answered without its machine")
		c.docker("restart", "k8s-postgresql")
		c.docker("start", "k8s-master")
		require.Eventually(t, func() bool {
			after, err := c.nodes()
			return err == nil && after["k8s-master"].ready() && after["k8s-postgresql"].ready()
		}, 5*time.Minute, 3*time.Second)
		for name, node := range c.awaitReady(clusterNodes, 5*time.Minute) {
			assert.Equal(t, nodes[name].Metadata.UID, node.Metadata.UID, name)
		}
		c.awaitProbes()
		c.awaitReachable()
		assert.Empty(t, c.Steps())
	})

	run("destroy leaves nothing but the backup, even if the control plane was killed before", func(t *testing.T) {
		c.docker("kill", "k8s-master")
		started := time.Now()
		c.Must(c.Destroy())
		t.Logf("destroy took %.1f s", time.Since(started).Seconds())
		assert.Equal(t, map[string]int{aws.SnapshotKind: 1}, c.Inventory().Counts(), "the backup stays")
		c.nothingIsLeft()
	})
}

// asTheTable checks that the labels, taints, provider IDs and versions of all nodes are those that the program asks for.
func (c *cluster) asTheTable(t *testing.T) {
	nodes := c.awaitReady(len(c.machines()), time.Minute)
	resources, err := c.Open().Resources(t.Context())
	require.NoError(t, err)
	checked := 0
	for _, r := range resources {
		name, isMember := strings.CutPrefix(r.URN.Name(), "member-")
		if initName, isInit := strings.CutPrefix(r.URN.Name(), "init-"); isInit {
			name = initName
		} else if !isMember {
			continue
		}
		checked++
		command, _ := r.Inputs["create"].(string)
		node := nodes[name]
		for _, label := range strings.Split(flagOf(command, "labels"), ",") {
			key, value, _ := strings.Cut(label, "=")
			assert.Equal(t, value, node.Metadata.Labels[key], "%s %s", name, key)
		}
		var want []string
		if taints := flagOf(command, "taints"); taints != "" {
			want = strings.Split(taints, ",")
		}
		if isMember {
			assert.Equal(t, flagOf(command, "provider-id"), node.Spec.ProviderID, name)
		} else {
			want = append(want, "node-role.kubernetes.io/control-plane=:NoSchedule")
			assert.Regexp(t, `^aws:///ap-northeast-2a/i-[0-9a-f]{17}$`, node.Spec.ProviderID)
		}
		assert.ElementsMatch(t, want, node.taints(), name)
		assert.Equal(t, "v"+cmp.Or(c.from.Kubernetes, config.DefaultVersions.Kubernetes), node.Status.NodeInfo.KubeletVersion, name)
	}
	assert.Equal(t, len(nodes), checked)
}

// same checks that nodes and their probes are unchanged: not registered again, not restarted.
func (c *cluster) same(t *testing.T, nodes map[string]node, probes map[string]pod) {
	t.Helper()
	nodesNow, probesNow := c.awaitReady(len(nodes), time.Minute), c.probes()
	for name, before := range nodes {
		assert.Equal(t, before.Metadata.UID, nodesNow[name].Metadata.UID, name)
		assert.Equal(t, before.Status.NodeInfo.BootID, nodesNow[name].Status.NodeInfo.BootID, name)
		assert.Equal(t, before.Metadata.Labels, nodesNow[name].Metadata.Labels, name)
		assert.ElementsMatch(t, before.taints(), nodesNow[name].taints(), name)
	}
	for name, before := range probes {
		assert.Equal(t, before.Metadata.UID, probesNow[name].Metadata.UID, name)
		for _, container := range probesNow[name].Status.ContainerStatuses {
			assert.Zero(t, container.RestartCount, name)
		}
	}
}

// flagOf returns a flag's value in a command line, where it may be quoted by the program.
func flagOf(command, name string) string {
	found := regexp.MustCompile(`--` + name + ` ('([^']*)'|(\S*))`).FindStringSubmatch(command)
	if found == nil {
		return ""
	}
	return found[2] + found[3]
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// newCluster returns a stack with the local settings and real machines, of which nothing exists yet. Its machines are
// removed when the test is over, whatever its result. Besides the program's default versions, its mirror has the
// Kubernetes and containerd versions in also.
func newCluster(t *testing.T, also ...config.Versions) *cluster {
	t.Helper()
	needs.Machines(t)
	var err error
	tools, err = world.Tools(t.Context())
	require.NoError(t, err, "preparing the rehearsal")
	c := &cluster{World: world.New(t, tools, "local", ""), t: t}
	// Not a temporary directory, so that the next run finds and removes the machines of a test that was killed.
	c.Dir = filepath.Join(c.Options.Repo, ".rehearsal", "test")
	c.Options.StateDir = c.Dir
	require.NoError(t, docker.Remove(t.Context(), c.Dir))
	require.NoError(t, os.RemoveAll(c.Dir))
	require.NoError(t, os.MkdirAll(c.Dir, 0o755))
	const vpc = "10.76.0.0/16"
	// It is stopped after everything that the test cleans up.
	listeners.Watch(t, netip.MustParsePrefix(vpc), netip.MustParsePrefix(setup.OperatorAddress+"/32"))
	require.NoError(t, docker.SetUpHost(t.Context(), os.Stderr))
	host, err := supply.Build(t.Context(), c.Options.Repo, c.Dir, os.Stderr, also...)
	require.NoError(t, err)
	require.NoError(t, docker.ReserveForTests(t.Context(), os.Stderr))
	require.NoError(t, supply.PublishWorkloads(c.Dir))
	c.binary, c.mirror = host.Kubectl, host.Mirror
	// Addresses that differ from those of a stack that `make up` may have brought up on this host.
	c.Options.Level, c.Options.Environ = setup.Rehearse, slices.Concat(host.Environ, []string{aws.PublicPoolEnv + "=198.18.1.0/24"})
	maps.Copy(c.Options.Config, host.Settings())
	c.Options.Config["vpcCidr"] = vpc
	t.Cleanup(func() {
		// The test's own context is cancelled by now.
		assert.NoError(t, docker.Remove(context.Background(), c.Dir))
	})
	return c
}

// revokeSelfRule deletes the security group's rule for itself without the engine, as somebody might in AWS's console.
func (c *cluster) revokeSelfRule() {
	c.t.Helper()
	account := aws.Open(c.Dir)
	groups, err := account.Groups()
	require.NoError(c.t, err)
	require.Len(c.t, groups, 1)
	rules, err := account.Rules(groups[0].ID)
	require.NoError(c.t, err)
	self := slices.IndexFunc(rules, func(r aws.Rule) bool { return r.ReferencedGroupID == groups[0].ID })
	require.GreaterOrEqual(c.t, self, 0)
	c.deleteFromAWS("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", rules[self].ID, "self")
}

// terminate terminates a node's machine without the engine, as AWS may.
func (c *cluster) terminate(node string) {
	c.t.Helper()
	m, ok := c.machines()[node]
	require.True(c.t, ok, "there is no machine %s", node)
	c.deleteFromAWS("aws:ec2/instance:Instance", m.InstanceID, m.Name)
	require.NotContains(c.t, c.machines(), node)
}

// deleteFromAWS deletes an AWS resource without the engine.
func (c *cluster) deleteFromAWS(typ, id, name string) {
	c.t.Helper()
	driver, err := docker.New(c.Dir)
	require.NoError(c.t, err)
	model, err := provider.New(c.Dir, driver)
	require.NoError(c.t, err)
	require.NoError(c.t, model.Kinds(typ).Delete(c.t.Context(), &plugin.Request{ID: id, Name: name}))
}

// machines returns the stack's machines by the names of their nodes.
func (c *cluster) machines() map[string]docker.Machine {
	c.t.Helper()
	list, err := docker.List(c.t.Context(), c.Dir)
	require.NoError(c.t, err)
	found := map[string]docker.Machine{}
	for _, m := range list {
		if node, ok := strings.CutPrefix(m.Name, "eco2-local-"); ok {
			found[node] = m
		}
	}
	return found
}

// docker runs a docker command on a machine, such as kill, of which neither engine nor cluster is told.
func (c *cluster) docker(what, node string) {
	c.t.Helper()
	m, ok := c.machines()[node]
	require.True(c.t, ok, "there is no machine %s", node)
	out, err := exec.CommandContext(c.t.Context(), "docker", what, m.Container).CombinedOutput()
	require.NoError(c.t, err, string(out))
}

// nothingIsLeft checks that nothing of the stack is left in Docker or on this host.
func (c *cluster) nothingIsLeft() {
	c.t.Helper()
	for _, kind := range []string{"container", "network", "volume"} {
		args := []string{kind, "ls", "--quiet", "--filter", "label=" + docker.Label + "=" + c.Dir}
		if kind == "container" {
			args = append(args, "--all")
		}
		out, err := exec.CommandContext(c.t.Context(), "docker", args...).CombinedOutput()
		require.NoError(c.t, err, string(out))
		assert.Empty(c.t, string(out), kind)
	}
	mounts := readFile(c.t, "/proc/mounts")
	assert.NotContains(c.t, mounts, c.Dir)
	links, err := net.Interfaces()
	require.NoError(c.t, err)
	for _, link := range links {
		assert.NotRegexp(c.t, `^eco2-`, link.Name)
	}
}
