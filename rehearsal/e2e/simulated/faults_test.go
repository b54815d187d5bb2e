package simulated

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	cloud "eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/internal/fault"
)

// devInventory counts the AWS resources of a stack with dev's settings that is up. It does not depend on how many
// updates failed before.
var devInventory = map[string]int{
	"certificate": 1, "certificateValidation": 1, "eip": 1, "eipAssociation": 1, "instance": 14, "instanceProfile": 2,
	"internetGateway": 1, "keyPair": 1, "loadbalancer": 1, "networkInterface": 14 + 3, "parameter": 10, "record": 1 + 4,
	"role": 2, "rolePolicy": 5, "rolePolicyAttachment": 1, "route": 1, "routeTable": 1, "routeTableAssociation": 3, "securityGroup": 1,
	"securityGroupEgressRule": 1, "securityGroupIngressRule": 6, "subnet": 3, "subnetCidrReservation": 1, "targetGroup": 1,
	"volume": 14 + 1, "volumeAttachment": 1, "vpc": 1,
}

// Each fault happens once and is reported. Another update, or what the message or docs/operations.md instructs, leads
// to the same stack as without the fault. Nothing exists twice and nothing is forgotten: the destroy leaves an empty
// account.
func TestFaults(t *testing.T) {
	t.Parallel()
	const (
		instance = "aws:ec2/instance:Instance"
		command  = "command:remote:Command"
		release  = "kubernetes:helm.sh/v3:Release"
	)
	var survived, all atomic.Int32
	t.Cleanup(func() { t.Logf("faults survived: %d of %d", survived.Load(), all.Load()) })
	newDev := func(t *testing.T) *world.World { return newWorld(t, "dev", "") }
	begin := func(t *testing.T, makeWorld func(*testing.T) *world.World) *world.World {
		t.Parallel()
		all.Add(1)
		return makeWorld(t)
	}
	end := func(t *testing.T, w *world.World) {
		t.Helper()
		w.Must(w.Up())
		assert.Equal(t, devInventory, w.Inventory().Counts())
		assert.Empty(t, w.Steps())
		nodes, err := w.Cluster().Nodes()
		require.NoError(t, err)
		assert.Len(t, nodes, 14)
		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
		if !t.Failed() {
			survived.Add(1)
		}
	}
	// fails brings the stack up under a fault, and checks that the update fails and prints the given parts.
	fails := func(t *testing.T, w *world.World, f fault.Fault, parts ...string) {
		t.Helper()
		f.Times = 1
		require.NoError(t, fault.Plant(w.Dir, f))
		printed, err := w.Up()
		require.Error(t, err)
		for _, part := range parts {
			assert.Contains(t, printed, part)
		}
	}

	t.Run("the engine is killed while it makes the network", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: "aws:ec2/vpc:Vpc"})
		end(t, w)
	})
	t.Run("the engine is killed while it creates a resource with a fixed name", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: "aws:ec2/keyPair:KeyPair"})
		end(t, w)
	})
	t.Run("the engine is killed while it starts machines", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: instance, Name: "k8s-redis"})
		end(t, w)
	})
	t.Run("the engine is killed while it prepares machines", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: command, Name: "prepare-k8s-redis"})
		end(t, w)
	})
	t.Run("the engine is killed while kubeadm makes the control plane", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: command, Name: "init-*"})
		end(t, w)
	})
	t.Run("the engine is killed while workers join", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: command, Name: "member-k8s-redis"})
		end(t, w)
	})
	t.Run("the engine is killed while it makes objects in the cluster", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: "kubernetes:core/v1:Namespace", Name: "monitoring"})
		end(t, w)
	})
	t.Run("the engine is killed while it installs a release", func(t *testing.T) {
		w := begin(t, newDev)
		kill(t, w, "up", fault.Fault{Method: "Create", Type: release, Name: "external-secrets"})
		end(t, w)
	})
	t.Run("the engine is killed while it changes a machine", func(t *testing.T) {
		w := begin(t, newWorldUp)
		w.Options.Config["nodes"] = map[string]any{"k8s-redis": map[string]any{"instanceType": "t3.large"}}
		kill(t, w, "up", fault.Fault{Method: "Update", Type: instance, Name: "k8s-redis"})
		end(t, w)
	})
	for name, at := range map[string]fault.Fault{
		"when the volume with the cluster's state has no machine":               {Method: "Delete", Type: instance, Name: "k8s-master"},
		"while the volume with the cluster's state moves to another machine":    {Method: "Create", Type: "aws:ec2/volumeAttachment:VolumeAttachment"},
		"before the control plane that is on the volume is up on a new machine": {Method: "Create", Type: command, Name: "init-*"},
	} {
		t.Run("the engine is killed "+name, func(t *testing.T) {
			w := begin(t, newWorldUp)
			before := members(t, w)
			withCheckpoints(w)
			killEngine(t, w, "up", at, "--replace", "**Instance::k8s-master")
			adopt(t, w, "--exclude", "**kubernetes:**") // whose API is away with its machine
			w.Must(w.Up())
			after := members(t, w)
			assert.NotEqual(t, before["k8s-master"].ProviderID, after["k8s-master"].ProviderID)
			delete(before, "k8s-master")
			delete(after, "k8s-master")
			assert.Equal(t, before, after, "the same cluster")
			end(t, w)
		})
	}
	t.Run("the engine is killed while the sweep runs", func(t *testing.T) {
		w := begin(t, newWorldUp)
		kill(t, w, "destroy", fault.Fault{Method: "Delete", Type: command, Name: "sweep"})
		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
		survived.Add(1)
	})
	t.Run("the engine is killed while it terminates machines", func(t *testing.T) {
		w := begin(t, newWorldUp)
		kill(t, w, "destroy", fault.Fault{Method: "Delete", Type: instance, Name: "k8s-redis"})
		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
		survived.Add(1)
	})

	t.Run("AWS makes a machine and does not finish it", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Unfinished, Method: "Create", Type: instance, Name: "k8s-redis"},
			"k8s-redis", "timeout while waiting for state to become 'running'")
		machine(t, w, "k8s-redis") // it exists; the others may not have been created yet
		end(t, w)
	})
	t.Run("AWS throttles", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Throttled, Method: "Create", Type: "aws:ec2/subnet:Subnet"}, "RequestLimitExceeded")
		end(t, w)
	})
	t.Run("AWS throttles a destroy", func(t *testing.T) {
		w := begin(t, newWorldUp)
		require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Throttled, Method: "Delete", Type: instance, Times: 2}))
		printed, err := w.Destroy()
		require.Error(t, err)
		assert.Contains(t, printed, "RequestLimitExceeded")
		w.Must(w.Destroy())
		assert.Empty(t, w.Inventory())
		survived.Add(1)
	})
	t.Run("the account has too few vCPUs", func(t *testing.T) {
		w := begin(t, newDev)
		account := aws.Open(w.Dir)
		require.NoError(t, account.SetQuota(16)) // a stack needs 30
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "VcpuLimitExceeded")
		assert.Contains(t, printed, "current vCPU limit of 16")
		require.NoError(t, account.SetQuota(aws.VCPUs))
		end(t, w)
	})

	t.Run("a machine refuses SSH for two minutes, and the update waits", func(t *testing.T) {
		w := begin(t, newDev)
		require.NoError(t, fault.Plant(w.Dir, fault.Fault{Kind: fault.Refused, Name: "eco2-dev-*", Seconds: 120, Times: 14}))
		end(t, w)
	})
	t.Run("the control plane refuses SSH for longer than the update waits", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Refused, Name: "eco2-dev-k8s-master", Seconds: 300},
			"scripts", "after 40 failed attempts: dial tcp", "connection refused")
		end(t, w)
	})
	t.Run("a worker refuses SSH for longer than the update waits", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Refused, Name: "eco2-dev-k8s-redis", Seconds: 300},
			"prepare-k8s-redis", "cannot log in to k8s-redis as ubuntu over SSH at", "Connection refused")
		end(t, w)
	})
	t.Run("SSH drops at the end of a script", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Dropped, Name: "init-k8s-master"}, "init-k8s-master", "remote command exited without exit status")
		end(t, w)
	})
	t.Run("SSH drops during a join", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.Dropped, Name: "join-k8s-redis"}, "member-k8s-redis", "remote command exited without exit status")
		end(t, w)
	})
	t.Run("the key is another one than the machines'", func(t *testing.T) {
		w := begin(t, newWorldUp)
		other := newWorld(t, "other", "dev")
		other.Open() // generates another throw-away key
		w.Options.Config["sshPrivateKey"] = stack.Secret(other.PrivateKey())
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "unable to authenticate")
		assert.NotContains(t, printed, "PRIVATE KEY")
		delete(w.Options.Config, "sshPrivateKey")
		end(t, w)
	})
	t.Run("another machine answers at a machine's address", func(t *testing.T) {
		w := begin(t, newWorldUp)
		program := w.Tools.Program
		require.NoError(t, w.Hosts().ChangeHostKey(machine(t, w, "k8s-redis").ID))
		w.Tools.Program = w.ProgramWithAnotherComment("lib.sh") // every script runs again
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "cannot log in to k8s-redis as ubuntu over SSH at")
		assert.Contains(t, printed, "the machine that answers there has another SSH host key, so nothing was sent to it")
		// As docs/operations.md describes: a machine whose key is lost is replaced.
		w.Must(w.Up("--replace", w.URN(instance, "k8s-redis")))

		require.NoError(t, w.Hosts().ChangeHostKey(machine(t, w, "k8s-master").ID))
		w.Tools.Program = program // again
		printed, err = w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "ssh: handshake failed: ssh: host key mismatch")
		assert.NotContains(t, printed, "PRIVATE KEY")
		require.NoError(t, w.Hosts().RestoreHostKey(machine(t, w, "k8s-master").ID))
		end(t, w)
	})
	t.Run("the token of a join has expired", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.TokenExpired, Name: "join-k8s-redis"},
			"member-k8s-redis", "couldn't validate the identity of the API Server", "k8s-redis could not join and was reset")
		end(t, w)
	})
	t.Run("a manifest is not what was pinned", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.OtherContent, Name: "calico"}, "does not have the pinned checksum")
		end(t, w)
	})

	t.Run("the API server restarts during a release", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.APIRestart, Name: "external-secrets"}, "external-secrets", "connection refused")
		end(t, w)
	})
	t.Run("the API server stays away during a release", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.APIGone, Name: "external-secrets"}, "external-secrets", "connection refused")
		// Helm could not roll back, so the release's name remains in use: docs/operations.md describes what to do.
		printed, err := w.Up()
		require.Error(t, err)
		assert.Contains(t, printed, "cannot re-use a name that is still in use")
		require.NoError(t, w.Cluster().Uninstall(t.Context(), provider.ReleaseSpec{Namespace: "platform-system", Name: "external-secrets"}))
		end(t, w)
	})
	t.Run("a release does not become ready", func(t *testing.T) {
		w := begin(t, newDev)
		fails(t, w, fault.Fault{Kind: fault.NeverReady, Name: "kube-prometheus-stack"},
			"kube-prometheus-stack", "has been uninstalled due to atomic being set: context deadline exceeded")
		end(t, w)
	})
	t.Run("a release's upgrade does not become ready", func(t *testing.T) {
		w := begin(t, newWorldUp)
		w.Options.Config["environment"] = "prod" // with two replicas
		fails(t, w, fault.Fault{Kind: fault.NeverReady, Method: "Upgrade", Name: "aws-load-balancer-controller"},
			"aws-load-balancer-controller", "has been rolled back due to atomic being set")
		delete(w.Options.Config, "environment")
		end(t, w)
	})

	t.Run("the API server stays away during a refresh", func(t *testing.T) {
		w := begin(t, newWorldUp)
		known := exportState(t, w)["deployment"].(map[string]any)["resources"]
		require.NoError(t, w.Cluster().SetDown(true))
		printed, err := w.Pulumi("refresh", "--yes", "--skip-preview")
		require.Error(t, err)
		assert.Contains(t, printed, "configured Kubernetes cluster is unreachable")
		assert.Len(t, exportState(t, w)["deployment"].(map[string]any)["resources"], len(known.([]any)), "no resource was removed from the state")
		w.Must(w.Pulumi("refresh", "--yes", "--skip-preview", "--exclude", "**kubernetes:**"))
		require.NoError(t, w.Cluster().SetDown(false))
		w.Changes()
		w.Must(w.Up())
		assert.Empty(t, w.Changes())
		end(t, w)
	})
	t.Run("the state is restored from an hour ago", func(t *testing.T) {
		w := begin(t, newWorldUp)
		backup := filepath.Join(t.TempDir(), "state.json")
		w.Must(w.Pulumi("stack", "export", "--file", backup))
		// Within the hour one worker is removed and another one added.
		nodes := map[string]any{"k8s-redis": map[string]any{"count": 0}, "k8s-worker-ai": map[string]any{"count": 2}}
		w.Options.Config["nodes"] = nodes
		w.Must(w.Up())
		w.Must(w.Pulumi("stack", "import", "--file", backup))

		// As docs/operations.md describes: first a refresh for what is gone, then delete what the state does not know.
		w.Must(w.Pulumi("refresh", "--yes", "--skip-preview"))
		for _, orphan := range orphans(t, w) {
			require.Equal(t, "eco2-dev-k8s-worker-ai-2", orphan.Name())
			terminate(t, w, orphan)
			_, err := w.Cluster().RemoveNode("k8s-worker-ai-2")
			require.NoError(t, err)
		}
		w.Must(w.Up())
		assert.Empty(t, orphans(t, w))
		delete(w.Options.Config, "nodes")
		end(t, w)
	})
}

// kill kills an engine that saves its state at each step, and then recovers as docs/operations.md describes: the lock
// is removed (stack.Open does that), and each resource with a pending create is added to the state if it exists, and
// cleared if it does not.
func kill(t *testing.T, w *world.World, operation string, at fault.Fault) {
	t.Helper()
	withCheckpoints(w)
	killEngine(t, w, operation, at)
	adopt(t, w)
}

// killEngine starts an operation, and kills the engine while it waits for a call that the plugin has already carried
// out.
func killEngine(t *testing.T, w *world.World, operation string, at fault.Fault, args ...string) {
	t.Helper()
	at.Kind, at.Times = fault.Hang, 1
	require.NoError(t, fault.Plant(w.Dir, at))
	s := w.Open()
	engine := s.Command(t.Context(), s.Operation(operation, args...)...)
	log, err := os.Create(filepath.Join(w.Dir, "killed.log")) // with a pipe, Wait would also wait for the plugins to exit
	require.NoError(t, err)
	engine.Stdout, engine.Stderr = log, log
	require.NoError(t, engine.Start())
	require.Eventually(t, func() bool {
		hit, err := fault.Triggered(w.Dir, at)
		return err == nil && hit
	}, 2*time.Minute, 10*time.Millisecond, "the fault %+v did not occur", at)
	require.NoError(t, engine.Process.Kill())
	require.Error(t, engine.Wait())
	require.NoError(t, log.Close())
	w.AwaitEnd()
}

// adopt settles pending creates as docs/operations.md describes: a resource that exists is added to the state with its
// id, one that does not is forgotten, and a refresh reads the properties. The engine's own offer to import a pending
// create would forget it instead.
func adopt(t *testing.T, w *world.World, args ...string) {
	t.Helper()
	exported := exportState(t, w)
	deployment := exported["deployment"].(map[string]any)
	resources, _ := deployment["resources"].([]any)
	operations, _ := deployment["pending_operations"].([]any)
	deployment["pending_operations"] = slices.DeleteFunc(operations, func(operation any) bool {
		o := operation.(map[string]any)
		pending := o["resource"].(map[string]any)
		if o["type"] != "creating" {
			return false
		}
		if id := createdID(t, w, pending); id != "" {
			pending["id"] = id
			// If it replaces another one, which was deleted before, it takes that one's place: the state is sorted.
			replaced := slices.IndexFunc(resources, func(resource any) bool {
				r := resource.(map[string]any)
				return r["urn"] == pending["urn"] && r["pendingReplacement"] == true
			})
			if replaced >= 0 {
				resources[replaced] = pending
			} else {
				resources = append(resources, pending)
			}
		}
		return true
	})
	deployment["resources"] = resources
	data, err := json.Marshal(exported)
	require.NoError(t, err)
	importState(t, w, string(data))
	w.Must(w.Pulumi(append([]string{"refresh", "--yes", "--skip-preview"}, args...)...))
}

func exportState(t *testing.T, w *world.World, args ...string) (exported map[string]any) {
	t.Helper()
	text := w.Must(w.Pulumi(append([]string{"stack", "export"}, args...)...))
	require.NoError(t, json.Unmarshal([]byte(text), &exported), text)
	return exported
}

// importState replaces the stack's state with a text.
func importState(t *testing.T, w *world.World, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	w.Must(w.Pulumi("stack", "import", "--file", file))
}

// createdID returns the id of the resource that a pending create has created: it finds it by its tags or its name in
// AWS, or by its name in the cluster. It is empty if there is none.
func createdID(t *testing.T, w *world.World, pending map[string]any) string {
	t.Helper()
	text := func(m map[string]any, key string) string { s, _ := m[key].(string); return s }
	typ := text(pending, "type")
	inputs, _ := pending["inputs"].(map[string]any)
	switch {
	case strings.HasPrefix(typ, "aws:"):
		ids, err := aws.Open(w.Dir).IDsByURN(text(pending, "urn"))
		require.NoError(t, err)
		require.LessOrEqual(t, len(ids), 1, pending)
		return strings.Join(ids, "")
	case typ == "kubernetes:helm.sh/v3:Release":
		namespace, name := text(inputs, "namespace"), text(inputs, "name")
		if _, err := w.Cluster().Release(t.Context(), namespace, name); err != nil {
			return ""
		}
		return namespace + "/" + name
	case strings.HasPrefix(typ, "kubernetes:"):
		metadata, _ := inputs["metadata"].(map[string]any)
		ref := provider.Ref{
			APIVersion: text(inputs, "apiVersion"), Kind: text(inputs, "kind"),
			Namespace: text(metadata, "namespace"), Name: text(metadata, "name"),
		}
		if _, err := w.Cluster().Get(t.Context(), ref); err != nil {
			return ""
		}
		return strings.TrimPrefix(ref.Namespace+"/"+ref.Name, "/")
	default:
		return "" // a command, which runs again
	}
}

// orphans returns the machines that have the stack's tags but are not in its state.
func orphans(t *testing.T, w *world.World) []aws.Instance {
	t.Helper()
	instances, err := aws.Open(w.Dir).Instances()
	require.NoError(t, err)
	state := w.Must(w.Pulumi("stack", "export"))
	return slices.DeleteFunc(instances, func(i aws.Instance) bool {
		return i.Tags["Stack"] != w.Name || strings.Contains(state, fmt.Sprintf("%q", i.ID))
	})
}

// terminate terminates a machine without the engine, as somebody might in AWS's console.
func terminate(t *testing.T, w *world.World, i aws.Instance) {
	t.Helper()
	model, err := cloud.New(w.Dir, nil)
	require.NoError(t, err)
	kind := model.Kinds("aws:ec2/instance:Instance")
	require.NoError(t, kind.Delete(t.Context(), &plugin.Request{ID: i.ID, Name: i.Name()}))
}
