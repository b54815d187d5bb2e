package simulate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/command"
	"eco2/rehearsal/fault"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/stacktest"
)

// shop is a workload as the workloads' repository has it: behind an Ingress, with a volume.
func shop(securityGroup, certificate string) []kubernetes.Manifest {
	object := func(apiVersion, kind, name string, more map[string]any) kubernetes.Manifest {
		m := kubernetes.Manifest{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": "chat", "name": name}}
		for key, value := range more {
			m[key] = value
		}
		return m
	}
	ingress := object("networking.k8s.io/v1", "Ingress", "shop", map[string]any{"spec": map[string]any{
		"ingressClassName": "alb",
		"rules": []any{map[string]any{"host": "shop.dev.growbin.app", "http": map[string]any{"paths": []any{
			map[string]any{"path": "/", "pathType": "Prefix", "backend": map[string]any{"service": map[string]any{"name": "shop"}}},
		}}}},
	}})
	ingress["metadata"].(map[string]any)["annotations"] = map[string]any{
		"alb.ingress.kubernetes.io/group.name":      "shop",
		"alb.ingress.kubernetes.io/security-groups": securityGroup,
		"alb.ingress.kubernetes.io/listen-ports":    `[{"HTTPS":443}]`,
		"alb.ingress.kubernetes.io/scheme":          "internet-facing",
		"alb.ingress.kubernetes.io/certificate-arn": certificate,
	}
	return []kubernetes.Manifest{ingress, object("apps/v1", "StatefulSet", "shop", map[string]any{"spec": map[string]any{
		"replicas": 2, "volumeClaimTemplates": []any{map[string]any{
			"metadata": map[string]any{"name": "data"},
			"spec":     map[string]any{"storageClassName": "gp3", "resources": map[string]any{"requests": map[string]any{"storage": "20Gi"}}},
		}},
	}})}
}

// openShop puts the workload into Git, from where Argo CD brings it into the cluster.
func openShop(t *testing.T, w *stacktest.World) {
	t.Helper()
	groups, err := aws.Open(w.Dir).Groups()
	require.NoError(t, err)
	require.Len(t, groups, 1)
	certificates, err := aws.Open(w.Dir).Certificates()
	require.NoError(t, err)
	require.Len(t, certificates, 1)
	for _, m := range shop(groups[0].ID, certificates[0].ARN) {
		require.NoError(t, w.Cluster().Manage(m))
	}
	counts := w.Inventory().Counts()
	require.Equal(t, 2, counts["loadbalancer"], "the shop's and Argo CD's")
	require.Equal(t, 14+2, counts["volume"], "root disks, and the shop's")
	records, err := aws.Open(w.Dir).Records()
	require.NoError(t, err)
	require.Len(t, records, 8, "a name for two kinds of address and whose each is, twice")
}

// scale gives a workload of the cluster another number of pods.
func scale(t *testing.T, w *stacktest.World, kind, namespace, name string, replicas int) {
	t.Helper()
	_, err := w.Cluster().Apply(t.Context(), kubernetes.Manifest{
		"apiVersion": "apps/v1", "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{"replicas": replicas},
	}, kubernetes.ApplyOptions{Manager: "kubectl", Force: true})
	require.NoError(t, err)
}

// sweep runs the program's script with changes, outside of the engine, and returns what it says.
func sweep(t *testing.T, w *stacktest.World, timeout string, change func(script string) string) (said string, exit int) {
	t.Helper()
	var script strings.Builder
	for _, name := range []string{"lib", "sweep"} {
		data, err := os.ReadFile(filepath.Join("../../cluster/scripts", name+".sh"))
		require.NoError(t, err)
		script.Write(data)
	}
	changed := change(script.String())
	require.NotEqual(t, script.String(), changed)
	var out strings.Builder
	exit, err := w.Hosts().Run(t.Context(), command.Session{
		Connection: command.Connection{Host: machine(t, w, "k8s-master").PublicIP, Port: 22, User: "ubuntu", PrivateKey: w.PrivateKey()},
		Command:    "sudo bash -s -- --timeout " + timeout + " # sweep.sh@00000000", Stdin: changed, Stdout: &out, Stderr: &out,
	})
	require.NoError(t, err)
	return out.String(), exit
}

func machine(t *testing.T, w *stacktest.World, node string) aws.Instance {
	t.Helper()
	instances, err := aws.Open(w.Dir).Instances()
	require.NoError(t, err)
	at := slices.IndexFunc(instances, func(i aws.Instance) bool { return strings.HasSuffix(i.Name(), "-"+node) })
	require.GreaterOrEqual(t, at, 0, node)
	return instances[at]
}

// inOrder checks that a text has these parts, one after the other.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "%q comes not, or too early, in:\n%s", part, text)
		rest = after
	}
}

// sweeps are all that a destroy asks a cluster for. The second finds nothing.
var sweeps = []string{"Delete command:remote:Command sweep", "Delete command:remote:Command early-sweep"}

// What controllers made in AWS is in no state: the sweep lets them take it away, in an order in which nobody
// brings anything back, and then the rest goes.
func TestDestroyOfAClusterInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	openShop(t, w)

	t.Run("who does not stop Argo CD first does not come to an end", func(t *testing.T) {
		w := newWorld(t, "dev", "")
		w.Must(w.Up())
		openShop(t, w)
		said, exit := sweep(t, w, "6", func(script string) string { return strings.ReplaceAll(script, "\n  stop_argocd\n", "\n") })
		assert.Equal(t, 1, exit)
		assert.Contains(t, said, "after 6s this is still there: ")
		assert.Contains(t, said, "ingress chat/shop")
	})

	w.Changes()
	printed := w.Must(w.Destroy())
	inOrder(t, printed, "stopping statefulset.apps/argocd-application-controller", "deleting pod chat/shop-0",
		"scaling statefulset chat/shop to nothing", "deleting ingress chat/shop", "deleting persistentvolumeclaim chat/data-shop-0",
		"external-dns has deleted its records", "nothing that the cluster made in AWS is left")
	changes := w.Changes()
	assert.Equal(t, "Delete command:remote:Command sweep", changes[0])
	assert.Equal(t, sweeps, stacktest.InCluster(changes))
	w.InOrder(changes, "Delete aws:ec2/instance:Instance k8s-redis", "Delete aws:ec2/securityGroup:SecurityGroup cluster", "Delete aws:ec2/vpc:Vpc network")
	assert.Empty(t, w.Inventory())
}

// prod's monitoring has volumes of its own, which its operator would make again for as long as it is told to.
func TestDestroyOfProdTakesTheVolumesOfMonitoring(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "prod", "")
	w.Options.Config["protect"] = false
	w.Must(w.Up())
	volumes, err := aws.Open(w.Dir).Volumes()
	require.NoError(t, err)
	var gib []int
	for _, volume := range volumes {
		gib = append(gib, volume.SizeGiB)
	}
	assert.ElementsMatch(t, []int{200, 50, 10}, gib)
	inOrder(t, w.Must(w.Destroy()), "deleting prometheuses.monitoring.coreos.com monitoring/kube-prometheus-stack-prometheus",
		"deleting persistentvolumeclaim monitoring/prometheus-kube-prometheus-stack-prometheus-db-prometheus-kube-prometheus-stack-prometheus-0")
	assert.Empty(t, w.Inventory())
}

// Under latencies, a load balancer's interfaces outlive it, and the network waits for them without being asked
// twice. A tenth of AWS's time: the order is what this is about, and `make bench` measures.
func TestDestroyWaitsForWhatAWSStillHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	openShop(t, w)
	w.Options.Latency = 0.1
	started := time.Now()
	w.Must(w.Destroy())
	t.Logf("destroy at a tenth of AWS's latencies: %.1f s", time.Since(started).Seconds())
	assert.Empty(t, w.Inventory())
}

// AWS releases the interfaces of a deleted load balancer when it likes: soon, or only some minutes after the machines
// are gone. Either is a healthy destroy, and waits no longer than it must.
func TestDestroyWaitsUntilAWSReleasesInterfaces(t *testing.T) {
	t.Parallel()
	for _, seconds := range []float64{20, 150, 240} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "dev", "")
			w.Must(w.Up())
			held := fault.Fault{Kind: fault.Held, Times: 1, Seconds: seconds}
			require.NoError(t, fault.Plant(w.Dir, held))
			w.Options.Latency = 0.1
			w.Must(w.Destroy())
			met, err := fault.Met(w.Dir, held)
			require.NoError(t, err)
			assert.True(t, met, "a load balancer was deleted")
			assert.Empty(t, w.Inventory())
		})
	}
}

// A zone that does not hold the domain gets a record under a name that nobody asks for. The update says so instead of
// waiting for a certificate that never comes, and goes on with the right zone.
func TestAHostedZoneThatIsNotTheDomains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Options.Config["hostedZoneId"] = aws.ForeignZone
	printed, err := w.Up()
	require.Error(t, err)
	assert.Regexp(t, `missing (\*\.)?dev\.growbin\.app DNS validation record: _[0-9a-f]+\.dev\.growbin\.app`, printed)
	w.Options.Config["hostedZoneId"] = "Z0123456789ABCDEFGHIJ"
	printed, err = w.Up()
	require.Error(t, err)
	assert.Contains(t, printed, "NoSuchHostedZone: No hosted zone found with ID: Z0123456789ABCDEFGHIJ")
	delete(w.Options.Config, "hostedZoneId")
	w.Must(w.Up())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// A load balancer whose controller is dead does not go. The destroy says so in time, has touched nothing else,
// and both ways out lead to the end: the controller lives again, or somebody does its work.
func TestDestroyWithADeadController(t *testing.T) {
	t.Parallel()
	for name, wayOut := range map[string]func(*testing.T, *stacktest.World){
		"that comes back": func(t *testing.T, w *stacktest.World) {
			scale(t, w, "Deployment", "kube-system", "aws-load-balancer-controller", 1)
		},
		"that does not": func(t *testing.T, w *stacktest.World) {
			account := aws.Open(w.Dir)
			balancers, err := account.LoadBalancers()
			require.NoError(t, err)
			for _, balancer := range balancers {
				require.NoError(t, account.DeleteLoadBalancer(balancer.ARN, time.Now()))
			}
			deleteTargetGroups(t, account)
			ref := kubernetes.Ref{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: "argocd", Name: "argocd"}
			require.NoError(t, w.Cluster().LetGo(ref, "group.ingress.k8s.aws/eco2-dev"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the sweep takes its whole minute
			w := newWorld(t, "dev", "")
			w.Must(w.Up())
			before := w.Inventory().Counts()
			scale(t, w, "Deployment", "kube-system", "aws-load-balancer-controller", 0)
			w.Changes()
			printed, err := w.Destroy()
			require.Error(t, err)
			assert.Contains(t, printed, "error: after 60s this is still there: ingress argocd/argocd; see docs/operations.md, 'Destroy is blocked'")
			assert.Equal(t, []string{"Delete command:remote:Command sweep"}, w.Changes())
			assert.Equal(t, before, w.Inventory().Counts())

			wayOut(t, w)
			w.Must(w.Destroy())
			assert.Empty(t, w.Inventory())
		})
	}
}

// deleteTargetGroups does what is left to do after load balancers: AWS keeps the groups.
func deleteTargetGroups(t *testing.T, account *aws.Account) {
	t.Helper()
	groups, err := account.TargetGroups()
	require.NoError(t, err)
	for _, g := range groups {
		require.NoError(t, account.DeleteTargetGroup(g.ARN))
	}
}

// An API server that does not answer cannot be swept through. The script says so.
func TestDestroyWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	require.NoError(t, w.Cluster().SetDown(true))
	printed, err := w.Destroy()
	require.Error(t, err)
	assert.Contains(t, printed, "error: the cluster's API does not answer, so the load balancers and volumes that it created in AWS cannot be deleted through it; see docs/operations.md, 'Destroy is blocked'")
	require.NoError(t, w.Cluster().SetDown(false))
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// A control plane that is gone for good cannot say anything, and takes its controllers along. What they made goes
// by hand, as docs/operations.md has it, and the rest by itself.
func TestDestroyWithoutAControlPlane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	openShop(t, w)
	account := aws.Open(w.Dir)
	require.NoError(t, account.SetInstanceState(machine(t, w, "k8s-master").ID, "stopped"))
	before := w.Inventory().Counts()
	w.Changes()
	printed, err := w.Destroy()
	require.Error(t, err)
	assert.Contains(t, printed, "sweep")
	assert.Contains(t, printed, "after 6 failed attempts: dial tcp")
	assert.Equal(t, []string{"Delete command:remote:Command sweep"}, w.Changes())
	assert.Equal(t, before, w.Inventory().Counts())

	// 1. The load balancers; 2. the sweeps out of the state; 3. destroy; 4. volumes and records.
	balancers, err := account.LoadBalancers()
	require.NoError(t, err)
	for _, balancer := range balancers {
		require.NoError(t, account.DeleteLoadBalancer(balancer.ARN, time.Now()))
	}
	w.Must(w.Pulumi("state", "delete", "--force", "--target-dependents", "--yes", w.URN("command:remote:Command", "early-sweep")))
	w.Must(w.Destroy())
	left := w.Inventory().Counts()
	assert.Equal(t, map[string]int{"targetGroup": 2, "volume": 2, "record": 8}, left, "what the last step is about")
	deleteTargetGroups(t, account)
	volumes, err := account.Volumes()
	require.NoError(t, err)
	for _, volume := range volumes {
		assert.Equal(t, "owned", volume.Tags["kubernetes.io/cluster/eco2-dev"], "it can be found")
		assert.Empty(t, volume.InstanceID)
	}
}
