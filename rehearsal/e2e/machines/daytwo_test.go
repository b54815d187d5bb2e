package machines

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/supply/mirror"
)

// startFrom sets the versions of Kubernetes and containerd with which the stack begins.
func (c *cluster) startFrom(versions config.Versions) {
	c.from = versions
	// A setting replaces that of Pulumi.local.yaml as a whole, which has the version of Calico that the mirror has.
	c.Options.Config["versions"] = map[string]any{
		"kubernetes": versions.Kubernetes, "containerd": versions.Containerd, "calico": mirror.CalicoRelease, "untested": true,
	}
}

// askWorkload asks a workload of two replicas ten times a second, each time over a new connection from a worker's machine,
// which stays when the control plane's is replaced, until stop is called. stop returns how many requests there were and which of them failed.
func (c *cluster) askWorkload(t *testing.T) (stop func() (asked int, failed []string)) {
	t.Helper()
	c.installWorkload(t)
	service := c.kubectl("get", "service", "asked", "--output=jsonpath={.spec.clusterIP}")

	pid := c.pid(t, "k8s-monitoring")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return inNetworkOf(pid, func() (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
		})
	}}}
	ctx, cancel := context.WithCancel(t.Context())
	ask := func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(service, "8080"), nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	require.Eventually(t, func() bool { return ask() == nil }, time.Minute, time.Second, "the new service does not answer")
	done := make(chan struct{})
	asked, failed := 0, []string{}
	go func() {
		defer close(done)
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			asked++
			if err := ask(); err != nil && ctx.Err() == nil {
				failed = append(failed, fmt.Sprintf("%s: %v", time.Now().Format(time.TimeOnly), err))
			}
		}
	}()
	return func() (int, []string) {
		cancel()
		<-done
		c.kubectl("delete", "deployment/asked", "service/asked", "poddisruptionbudget/asked")
		return asked, failed
	}
}

func (c *cluster) installWorkload(t *testing.T) {
	t.Helper()
	manifest, err := os.ReadFile("testdata/asked.yaml")
	require.NoError(t, err)
	_, err = c.try(string(manifest), "apply", "--filename=-")
	require.NoError(t, err)
	c.kubectl("rollout", "status", "deployment/asked", "--timeout=120s")
}

// measured runs an update while the workload and the API are asked. No request to the workload may fail; how long the API
// was away is printed.
func (c *cluster) measured(t *testing.T, what string, update func()) {
	t.Helper()
	stopAsking, stopWatching := c.askWorkload(t), c.outage(t)
	started := time.Now()
	update()
	took := time.Since(started)
	total, longest := stopWatching()
	asked, failed := stopAsking()
	t.Logf("%s took %.0f s; the API did not answer for %.0f s of them, at most %.0f s at a time; of %d requests to the workload %d failed",
		what, took.Seconds(), total.Seconds(), longest.Seconds(), asked, len(failed))
	assert.Greater(t, asked, int(took.Seconds()), "requests")
	assert.Empty(t, failed)
}

// upgrade upgrades Kubernetes and containerd to the default versions, by removing the setting of others. The machines get
// the updates of their other packages at the same time. There are none in the rehearsal, but those of one worker need it to
// restart.
func (c *cluster) upgrade(t *testing.T) {
	c.on("k8s-redis", "echo '*** System restart required ***' >/run/reboot-required")
	stop := c.restartWhenStopped(t, "k8s-redis")
	printed := c.upgradeTo(t, c.from, config.DefaultVersions, func() {
		delete(c.Options.Config, "versions")
		c.Options.Config["upgrade"] = map[string]any{"packages": "2026-11-29"}
	})
	assert.True(t, stop(), "k8s-redis restarted")
	assert.Contains(t, printed, "this update installs all updates of the machines' packages, one node after the other")
	assert.Contains(t, printed, "k8s-redis: restarting the machine, as its updates need that")
	assert.Equal(t, 1, strings.Count(printed, "restarting the machine"))
	for name := range c.awaitReady(clusterNodes, time.Minute) {
		assert.Equal(t, "2026-11-29", c.kubectl("get", "node", name, `--output=jsonpath={.metadata.annotations.eco2\.io/packages}`))
	}
}

// upgradeTo upgrades Kubernetes and containerd by changing the settings, and returns what the update prints.
func (c *cluster) upgradeTo(t *testing.T, from, to config.Versions, change func()) (printed string) {
	before, probes := c.awaitReady(clusterNodes, time.Minute), c.probes()
	c.measured(t, "the upgrade", func() {
		change()
		printed = c.Must(c.Up())
	})
	assert.Contains(t, c.Changes(), "Create aws:ebs/snapshot:Snapshot before-kubernetes-"+to.Kubernetes)
	assert.Contains(t, printed, "this update upgrades Kubernetes from "+from.Kubernetes+" to "+to.Kubernetes)
	after := c.awaitReady(clusterNodes, time.Minute)
	for name, node := range after {
		assert.Equal(t, "v"+to.Kubernetes, node.Status.NodeInfo.KubeletVersion, name)
		assert.Equal(t, "containerd://"+to.Containerd, node.Status.NodeInfo.ContainerRuntimeVersion, name)
		assert.Equal(t, before[name].Metadata.UID, node.Metadata.UID, "%s joined again", name)
		assert.Equal(t, before[name].Status.NodeInfo.BootID, node.Status.NodeInfo.BootID, name)
		assert.ElementsMatch(t, before[name].taints(), node.taints(), name)
	}
	for name, probe := range probes {
		assert.Equal(t, probe.Metadata.UID, c.probes()[name].Metadata.UID, "DaemonSets' pods are not evicted")
	}
	for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		image := c.kubectl("--namespace=kube-system", "get", "pod", component+"-k8s-master", "--output=jsonpath={.spec.containers[0].image}")
		assert.True(t, strings.HasSuffix(image, ":v"+to.Kubernetes), image)
	}
	// One node after the other, the control plane's first.
	order := regexp.MustCompile(`(?m)\d+ of \d+: (k8s-[a-z-]+)`).FindAllStringSubmatch(printed, -1)
	require.Len(t, order, clusterNodes, printed)
	assert.Equal(t, "k8s-master", order[0][1])
	c.awaitProbes()
	c.awaitReachable()
	assert.Empty(t, c.Steps())
	c.Changes()
	return printed
}

// restartWhenStopped starts a node's machine again once it has stopped: a machine of EC2 that restarts does that by
// itself, and a container does not. stop returns whether it has happened.
func (c *cluster) restartWhenStopped(t *testing.T, node string) (stop func() bool) {
	t.Helper()
	container := c.machines()[node].Container
	ctx, cancel := context.WithCancel(t.Context())
	restarted := make(chan bool, 1)
	go func() {
		defer close(restarted)
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			state, err := exec.CommandContext(ctx, "docker", "inspect", "--format={{.State.Running}}", container).Output()
			if err == nil && strings.TrimSpace(string(state)) == "false" {
				restarted <- exec.CommandContext(ctx, "docker", "start", container).Run() == nil
				return
			}
		}
	}()
	return func() bool {
		cancel()
		return <-restarted
	}
}

// changeConfiguration changes an argument of the API server and the kubelets' configuration. The following steps use the
// changed program.
func (c *cluster) changeConfiguration(t *testing.T) {
	c.Tools.Program = c.ProgramWith("cluster/kubeadm.go", c.Replace(`{"audit-log-maxage", "30"}`, `{"audit-log-maxage", "31"}`, "maxProcesses = 4096", "maxProcesses = 4000"))
	probes := c.probes()
	limit := func(node string) string {
		return regexp.MustCompile(`"podPidsLimit":\d+`).FindString(c.kubectl("get", "--raw=/api/v1/nodes/"+node+"/proxy/configz"))
	}
	assert.Equal(t, `"podPidsLimit":4096`, limit("k8s-redis"))
	c.measured(t, "changing the configuration", func() { c.Must(c.Up()) })
	arguments := c.kubectl("--namespace=kube-system", "get", "pod", "kube-apiserver-k8s-master", "--output=jsonpath={.spec.containers[0].command}")
	assert.Contains(t, arguments, "--audit-log-maxage=31")
	for node := range c.awaitReady(clusterNodes, time.Minute) {
		assert.Equal(t, `"podPidsLimit":4000`, limit(node), node)
	}
	probesNow := c.probes()
	for name, before := range probes {
		assert.Equal(t, before.Metadata.UID, probesNow[name].Metadata.UID, "the pod on %s", name)
	}
	assert.Empty(t, c.Steps())
	c.Changes()
}

// fillVolume fills the volume with the cluster's state until etcd stops, and frees it again after do. etcd comes back by
// itself, with everything that it had confirmed.
func (c *cluster) fillVolume(t *testing.T, do func()) {
	t.Helper()
	c.on("k8s-master", `set -e
# fallocate takes the space without writing it; the rest is little.
fallocate --length "$(($(stat --file-system --format='%f * %S' /var/lib/eco2) * 98 / 100))" /var/lib/eco2/filler
dd if=/dev/zero of=/var/lib/eco2/rest bs=1M status=none 2>/dev/null || true`)
	stored := 0
	content := strings.Repeat("x", 900_000)
	for ; stored < 300; stored++ {
		_, err := c.try(fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "filler-%d", "labels": {"filler": "true"}}, "data": {"content": %q}}`, stored, content),
			"create", "--filename=-", "--request-timeout=20s")
		if err != nil {
			break
		}
	}
	require.Less(t, stored, 300, "etcd stores more than its volume has room for")
	do()
	c.on("k8s-master", "rm /var/lib/eco2/filler /var/lib/eco2/rest")
	freed := time.Now()
	require.Eventually(t, func() bool {
		_, err := c.try("", "get", "--raw=/readyz", "--request-timeout=2s")
		return err == nil
	}, 8*time.Minute, time.Second)
	t.Logf("the API came back %.0f s after the volume was freed", time.Since(freed).Seconds())
	kept := strings.Fields(c.kubectl("get", "configmaps", "--selector=filler", "--output=name"))
	assert.GreaterOrEqual(t, len(kept), stored)
	c.kubectl("delete", "configmaps", "--selector=filler")
	c.awaitReady(clusterNodes, 3*time.Minute)
}

// renewCertificates shortens the validity of the control plane's certificates, which the next update then renews.
func (c *cluster) renewCertificates(t *testing.T) {
	served := func() *x509.Certificate {
		block, _ := pem.Decode(c.on("k8s-master", "openssl s_client -connect localhost:6443 </dev/null 2>/dev/null | openssl x509"))
		require.NotNil(t, block)
		certificate, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		return certificate
	}
	const inFile = "sed -n 's/.*client-certificate-data: //p' /etc/kubernetes/admin.conf | base64 -d | openssl x509 -noout -enddate"
	c.on("k8s-master", `set -e
sed 's/"kind": "ClusterConfiguration",/"kind": "ClusterConfiguration", "certificateValidityPeriod": "480h",/' /etc/kubernetes/kubeadm.yaml >/run/short.yaml
kubeadm certs renew all --config /run/short.yaml
rm /run/short.yaml
for pod in $(crictl pods --label component=kube-apiserver --quiet); do crictl stopp "$pod"; done`)
	require.Eventually(t, func() bool { _, err := c.nodes(); return err == nil }, 2*time.Minute, time.Second)
	short := served()
	assert.Less(t, time.Until(short.NotAfter), 21*24*time.Hour)
	// The program knows the expiry from the kubeconfig in its state.
	c.Must(c.Up("--replace", "**::admin-kubeconfig"))
	c.connect()

	var printed string
	c.measured(t, "renewing the certificates", func() { printed = c.Must(c.Up()) })
	assert.Contains(t, printed, "this update renews the control plane's certificates and the kubeconfig, which expire on "+short.NotAfter.UTC().Format(time.DateOnly))
	assert.Greater(t, time.Until(served().NotAfter), 360*24*time.Hour)
	assert.NotContains(t, string(c.on("k8s-master", inFile)), short.NotAfter.UTC().Format("Jan _2 15:04"))
	c.connect()
	c.awaitReady(clusterNodes, time.Minute)
	assert.Empty(t, c.Steps())
	c.Changes()
	assert.Contains(t, string(c.on("k8s-master", "systemctl list-timers --all --no-legend")), "eco2-certificates.timer")
}

// damageEtcd overwrites a part of etcd's database, and waits until the API is away.
func (c *cluster) damageEtcd(t *testing.T) {
	t.Helper()
	c.on("k8s-master", `set -e
dd if=/dev/urandom of=/var/lib/etcd/member/snap/db bs=1M count=4 conv=notrunc status=none
for pod in $(crictl pods --label component=etcd --quiet); do crictl stopp "$pod" >/dev/null; done`)
	require.Eventually(t, func() bool {
		_, err := c.try("", "get", "--raw=/readyz", "--request-timeout=2s")
		return err != nil
	}, time.Minute, time.Second, "the API answers without its data")
}

// restore fills the volume with the state of the cluster, which stops an update, and frees it. Then it damages etcd's data,
// and sets the cluster back to a snapshot that the lifecycle policy made, by the commands in docs/operations.md. That
// replaces the control plane's machine, so in later steps etcd does not start late because it crashed on the full volume.
func (c *cluster) restore(t *testing.T) {
	c.kubectl("create", "configmap", "before", "--from-literal=made=before")
	c.installWorkload(t) // otherwise it would be gone after the restore
	account := aws.Open(c.Dir)
	inventory, err := account.Inventory()
	require.NoError(t, err)
	at := slices.IndexFunc(inventory, func(e aws.Existing) bool { return e.Kind == aws.LifecyclePolicyKind })
	require.GreaterOrEqual(t, at, 0)
	driver, err := docker.New(c.Dir)
	require.NoError(t, err)
	made, err := api.RunLifecyclePolicy(t.Context(), account, "ap-northeast-2", inventory[at].ID, driver)
	require.NoError(t, err)
	require.Len(t, made, 1)
	c.kubectl("create", "configmap", "after", "--from-literal=made=after")
	volumes, nodes, probes := c.stateVolumes(t), c.awaitReady(clusterNodes, time.Minute), c.probes()

	c.Tools.Program = tools.Program // every script runs again
	c.fillVolume(t, func() {
		printed, err := c.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "the volume with the state of the cluster is full")
	})
	c.measured(t, "the restore of damaged data", func() {
		c.damageEtcd(t)
		c.Options.Config["restoreFrom"] = made[0]
		c.Must(c.Up())
		c.Must(c.Up("--refresh"))
	})
	after := c.awaitReady(clusterNodes, 3*time.Minute)
	assert.NotEqual(t, volumes, c.stateVolumes(t))
	assert.Equal(t, "before", c.kubectl("get", "configmap", "before", "--output=jsonpath={.data.made}"))
	_, err = c.try("", "get", "configmap", "after")
	require.ErrorContains(t, err, "not found")
	c.kubectl("delete", "configmap", "before")
	for name, node := range nodes {
		if name != "k8s-master" {
			assert.Equal(t, node.Metadata.UID, after[name].Metadata.UID, "%s registered again", name)
			assert.Equal(t, probes[name].Metadata.UID, c.probes()[name].Metadata.UID, "the pod on %s", name)
		}
	}
	// Controllers and kubelets see what happens now, although etcd has gone back.
	c.kubectl("rollout", "restart", "daemonset/probe")
	c.awaitProbes()
	c.awaitReachable()
	assert.Empty(t, c.Steps())
	c.Changes()
}
