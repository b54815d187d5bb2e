package simulated

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

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/hosts/remote"
	"eco2/rehearsal/internal/fault"
)

// shop returns a workload like those of the workloads' repository: behind an Ingress, with volumes.
func shop(securityGroup, certificate string) []provider.Manifest {
	object := func(apiVersion, kind, name string, more map[string]any) provider.Manifest {
		m := provider.Manifest{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"namespace": "chat", "name": name}}
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
	return []provider.Manifest{ingress, object("apps/v1", "StatefulSet", "shop", map[string]any{"spec": map[string]any{
		"replicas": 2, "volumeClaimTemplates": []any{map[string]any{
			"metadata": map[string]any{"name": "data"},
			"spec":     map[string]any{"storageClassName": "gp3", "resources": map[string]any{"requests": map[string]any{"storage": "20Gi"}}},
		}},
	}})}
}

// deployShop adds the workload to what Argo CD manages, as a commit in its Git repository would.
func deployShop(t *testing.T, w *world.World) {
	t.Helper()
	groups, err := aws.Open(w.Dir).Groups()
	require.NoError(t, err)
	require.Len(t, groups, 1)
	certificates, err := aws.Open(w.Dir).Certificates()
	require.NoError(t, err)
	require.Len(t, certificates, 1)
	for _, m := range shop(groups[0].ID, certificates[0].ARN) {
		require.NoError(t, w.Cluster().AddToGit(m))
	}
	counts := w.Inventory().Counts()
	require.Equal(t, 2, counts["loadbalancer"], "the shop's and Argo CD's")
	require.Equal(t, 14+1+2, counts["volume"], "root disks, the cluster's state, and the shop's")
	records, err := aws.Open(w.Dir).Records()
	require.NoError(t, err)
	require.Len(t, records, 8, "of both names A and AAAA, each with a record of its ownership")
}

// scale sets the number of replicas of a workload.
func scale(t *testing.T, w *world.World, kind, namespace, name string, replicas int) {
	t.Helper()
	_, err := w.Cluster().Apply(t.Context(), provider.Manifest{
		"apiVersion": "apps/v1", "kind": kind, "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{"replicas": replicas},
	}, provider.ApplyOptions{Manager: "kubectl", Force: true})
	require.NoError(t, err)
}

// sweep runs a changed version of the program's sweep without the engine, and returns its output and exit code.
func sweep(t *testing.T, w *world.World, timeout string, change func(script string) string) (output string, exit int) {
	t.Helper()
	var script strings.Builder
	for _, name := range []string{"lib", "sweep"} {
		data, err := os.ReadFile(filepath.Join("../../../cluster/scripts", name+".sh"))
		require.NoError(t, err)
		script.Write(data)
	}
	changed := change(script.String())
	require.NotEqual(t, script.String(), changed)
	var out strings.Builder
	exit, err := w.Hosts().Run(t.Context(), remote.Session{
		Connection: remote.Connection{Host: machine(t, w, "k8s-master").PublicIP, Port: 22, User: "ubuntu", PrivateKey: w.PrivateKey()},
		Command:    "sudo bash -s -- --timeout " + timeout + " # sweep.sh@00000000", Stdin: changed, Stdout: &out, Stderr: &out,
	})
	require.NoError(t, err)
	return out.String(), exit
}

func machine(t *testing.T, w *world.World, node string) aws.Instance {
	t.Helper()
	instances, err := aws.Open(w.Dir).Instances()
	require.NoError(t, err)
	at := slices.IndexFunc(instances, func(i aws.Instance) bool { return strings.HasSuffix(i.Name(), "-"+node) })
	require.GreaterOrEqual(t, at, 0, node)
	return instances[at]
}

// inOrder checks that a text contains these parts in this order.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "%q is missing, or comes too early, in:\n%s", part, text)
		rest = after
	}
}

// sweeps are the only commands that a destroy runs in a cluster. The second finds nothing left.
var sweeps = []string{"Delete command:remote:Command sweep", "Delete command:remote:Command early-sweep"}

// The state does not contain what controllers created in AWS. The sweep lets the controllers delete it, in an order in
// which nothing is created again, and then the rest is destroyed.
func TestDestroyOfAClusterInUse(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	deployShop(t, w)

	t.Run("a sweep that does not stop Argo CD first never finishes", func(t *testing.T) {
		w := newWorldUp(t)
		deployShop(t, w)
		output, exit := sweep(t, w, "6", func(script string) string { return strings.ReplaceAll(script, "\n  stop_argocd\n", "\n") })
		assert.Equal(t, 1, exit)
		assert.Contains(t, output, "after 6s this is still there: ")
		assert.Contains(t, output, "ingress chat/shop")
	})

	w.Changes()
	printed := w.Must(w.Destroy())
	inOrder(t, printed, "stopping statefulset.apps/argocd-application-controller", "deleting pod chat/shop-0",
		"scaling statefulset chat/shop to nothing", "deleting ingress chat/shop", "deleting persistentvolumeclaim chat/data-shop-0",
		"external-dns has deleted its records", "nothing that the cluster made in AWS is left")
	changes := w.Changes()
	assert.Equal(t, "Delete command:remote:Command sweep", changes[0])
	assert.Equal(t, sweeps, world.InCluster(changes))
	w.InOrder(changes, "Delete aws:ec2/instance:Instance k8s-redis", "Delete aws:ec2/securityGroup:SecurityGroup cluster", "Delete aws:ec2/vpc:Vpc network")
	assert.Empty(t, w.Inventory())
}

// prod's monitoring has volumes, whose claims its operator creates again as long as its custom resources exist.
func TestDestroyOfProdDeletesTheVolumesOfMonitoring(t *testing.T) {
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

// Under latencies a load balancer's interfaces exist longer than the load balancer, and the delete of the network waits
// for them within the same destroy. A tenth of AWS's latencies is enough: this test is about the order, while
// `make bench` measures.
func TestDestroyWaitsForALoadBalancersInterfaces(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	deployShop(t, w)
	w.Options.Latency = 0.1
	started := time.Now()
	w.Must(w.Destroy())
	t.Logf("destroy at a tenth of AWS's latencies: %.1f s", time.Since(started).Seconds())
	assert.Empty(t, w.Inventory())
}

// AWS may release the interfaces of a deleted load balancer soon, or only some minutes after the machines are gone. In
// both cases the destroy succeeds, and waits no longer than necessary.
func TestDestroyWaitsUntilAWSReleasesInterfaces(t *testing.T) {
	t.Parallel()
	for _, seconds := range []float64{20, 150, 240} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			w := newWorldUp(t)
			held := fault.Fault{Kind: fault.Held, Times: 1, Seconds: seconds}
			require.NoError(t, fault.Plant(w.Dir, held))
			w.Options.Latency = 0.1
			w.Must(w.Destroy())
			met, err := fault.Triggered(w.Dir, held)
			require.NoError(t, err)
			assert.True(t, met, "a load balancer was deleted")
			assert.Empty(t, w.Inventory())
		})
	}
}

// In a zone that does not contain the domain, the validation record has a name that nobody looks up. The update reports
// that instead of waiting for a certificate that is never issued, and succeeds with the right zone.
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

// Without its controller a load balancer cannot be deleted. The destroy reports that in time and touches nothing else.
// Both remedies let the next destroy succeed: the controller runs again, or its work is done by hand.
func TestDestroyWithADeadController(t *testing.T) {
	t.Parallel()
	for name, remedy := range map[string]func(*testing.T, *world.World){
		"the controller runs again": func(t *testing.T, w *world.World) {
			scale(t, w, "Deployment", "kube-system", "aws-load-balancer-controller", 1)
		},
		"its work is done by hand": func(t *testing.T, w *world.World) {
			account := aws.Open(w.Dir)
			balancers, err := account.LoadBalancers()
			require.NoError(t, err)
			for _, balancer := range balancers {
				require.NoError(t, account.DeleteLoadBalancer(balancer.ARN, time.Now()))
			}
			deleteTargetGroups(t, account)
			for _, name := range []string{"argocd", "web"} {
				ref := provider.Ref{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: "argocd", Name: name}
				require.NoError(t, w.Cluster().RemoveFinalizer(ref, "group.ingress.k8s.aws/eco2-dev"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the sweep waits for its timeout of a minute
			w := newWorldUp(t)
			before := w.Inventory().Counts()
			scale(t, w, "Deployment", "kube-system", "aws-load-balancer-controller", 0)
			w.Changes()
			printed, err := w.Destroy()
			require.Error(t, err)
			assert.Contains(t, printed, "error: after 60s this is still there: ingress argocd/argocd, ingress argocd/web; see docs/operations.md, 'Destroy is blocked'")
			assert.Equal(t, []string{"Delete command:remote:Command sweep"}, w.Changes())
			assert.Equal(t, before, w.Inventory().Counts())

			remedy(t, w)
			w.Must(w.Destroy())
			assert.Empty(t, w.Inventory())
		})
	}
}

// deleteTargetGroups deletes all target groups, which AWS keeps when their load balancers are deleted.
func deleteTargetGroups(t *testing.T, account *aws.Account) {
	t.Helper()
	groups, err := account.TargetGroups()
	require.NoError(t, err)
	for _, g := range groups {
		require.NoError(t, account.DeleteTargetGroup(g.ARN))
	}
}

// Without an answer of the API server the sweep cannot work, and its script reports that.
func TestDestroyWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	require.NoError(t, w.Cluster().SetDown(true))
	printed, err := w.Destroy()
	require.Error(t, err)
	assert.Contains(t, printed, "error: the cluster's API does not answer, so the load balancers and volumes that it created in AWS cannot be deleted through it; see docs/operations.md, 'Destroy is blocked'")
	require.NoError(t, w.Cluster().SetDown(false))
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// If the control plane is gone for good, so are its controllers. What they created is deleted by hand, as
// docs/operations.md describes, and the destroy deletes the rest.
func TestDestroyWithoutAControlPlane(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	deployShop(t, w)
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

	// 1. Delete the load balancers; 2. remove the sweeps from the state; 3. destroy; 4. delete volumes and records.
	balancers, err := account.LoadBalancers()
	require.NoError(t, err)
	for _, balancer := range balancers {
		require.NoError(t, account.DeleteLoadBalancer(balancer.ARN, time.Now()))
	}
	w.Must(w.Pulumi("state", "delete", "--force", "--target-dependents", "--yes", w.URN("command:remote:Command", "early-sweep")))
	w.Must(w.Destroy())
	left := w.Inventory().Counts()
	assert.Equal(t, map[string]int{"targetGroup": 2, "volume": 2, "record": 8}, left, "what is left for the last step")
	deleteTargetGroups(t, account)
	volumes, err := account.Volumes()
	require.NoError(t, err)
	for _, volume := range volumes {
		assert.Equal(t, "owned", volume.Tags["kubernetes.io/cluster/eco2-dev"], "it can be found")
		assert.Empty(t, volume.InstanceID)
	}
}
