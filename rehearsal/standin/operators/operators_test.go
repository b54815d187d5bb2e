package operators

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/standin"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/charts/chartstest"
	"eco2/rehearsal/supply/crds"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/mirror/server"
)

var api *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, "../../..", &api) }

// timeout is how long a test waits for anything. The garbage collector looks for new kinds only every 30 seconds.
const timeout = 90 * time.Second

// run runs the operator of a release, with the permissions that its chart grants it, until the test ends.
func run(t *testing.T, name string, o Operator) {
	t.Helper()
	embedded, err := charts.Embedded()
	require.NoError(t, err)
	release := chartstest.Releases(t, "../../..", "dev")[name]
	chartstest.Grant(t, api.Kubeconfig, release.Namespace, release.Name, chartstest.RBAC(chartstest.Objects(t, embedded, release)))
	options, err := options()
	require.NoError(t, err)
	options.HealthProbeBindAddress = "127.0.0.1:0"
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- standin.Run(ctx, options, func(m manager.Manager) error { return o.add(m) }) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
	})
}

// custom is a custom resource with the StatefulSets that the operator should create for it.
type custom struct {
	object string
	// sets maps the StatefulSets' names to their replicas.
	sets map[string]int32
	// claim is the name of the sets' volume claim template; if empty, the set's own name.
	claim string
	// size is the volumes' size; empty if the sets have no volumes.
	size string
}

// resources holds test cases for each kind, by the operator's release.
var resources = map[string][]custom{"redis-operator": {
	{`{apiVersion: redis.redis.opstreelabs.in/v1beta2, kind: Redis, metadata: {name: single, namespace: default}, spec: {}}`,
		map[string]int32{"single": 1}, "", ""},
	{`{apiVersion: redis.redis.opstreelabs.in/v1beta2, kind: RedisReplication, metadata: {name: cache, namespace: default}, spec: {clusterSize: 3,
		storage: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}},
		nodeSelector: {infra-type: redis}, tolerations: [{key: domain, operator: Equal, value: data, effect: NoSchedule}]}}`,
		map[string]int32{"cache": 3}, "", "1Gi"},
	{`{apiVersion: redis.redis.opstreelabs.in/v1beta2, kind: RedisCluster, metadata: {name: shards, namespace: default}, spec: {clusterSize: 3,
		storage: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}}}}}`,
		map[string]int32{"shards-leader": 3, "shards-follower": 3}, "", "2Gi"},
	{`{apiVersion: redis.redis.opstreelabs.in/v1beta2, kind: RedisSentinel, metadata: {name: watch, namespace: default}, spec: {clusterSize: 3}}`,
		map[string]int32{"watch-sentinel": 3}, "", ""},
}, "rabbitmq-cluster-operator": {
	{`{apiVersion: rabbitmq.com/v1beta1, kind: RabbitmqCluster, metadata: {name: queue, namespace: default}, spec: {}}`,
		map[string]int32{"queue-server": 1}, "persistence", "10Gi"},
	{`{apiVersion: rabbitmq.com/v1beta1, kind: RabbitmqCluster, metadata: {name: ephemeral, namespace: default}, spec: {replicas: 3, persistence: {storage: "0"}}}`,
		map[string]int32{"ephemeral-server": 3}, "", ""},
}}

func TestOperators(t *testing.T) {
	api.Need(t)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(api.Kubeconfig))
	require.NoError(t, err)
	m := mirror.Mirror{Dir: t.TempDir()}
	_, err = crds.Add(t.Context(), m, "../../..")
	require.NoError(t, err)
	for _, directory := range []string{"OT-CONTAINER-KIT/redis-operator/v0.26.0/charts/redis-operator/crds", "rabbitmq/cluster-operator/v2.22.3/config/crd/bases"} {
		path := server.Dir(m.Dir).File("https://raw.githubusercontent.com/" + directory)
		_, err := envtest.InstallCRDs(config, envtest.CRDInstallOptions{Paths: []string{path}, ErrorIfPathMissing: true, MaxTime: time.Minute})
		require.NoError(t, err)
	}
	scheme, err := standin.NewScheme(appsv1.AddToScheme)
	require.NoError(t, err)
	cluster, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	for name, operator := range map[string]Operator{"redis-operator": Redis, "rabbitmq-cluster-operator": RabbitMQ} {
		t.Run(name, func(t *testing.T) {
			run(t, name, operator)
			for _, r := range resources[name] {
				r.check(t, cluster)
			}
		})
	}
}

func (r custom) check(t *testing.T, cluster client.Client) {
	t.Helper()
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(r.object), &object.Object))
	t.Run(object.GetKind()+" "+object.GetName(), func(t *testing.T) {
		get := func(o client.Object, name string) bool {
			err := cluster.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, o)
			require.NoError(t, client.IgnoreNotFound(err))
			return err == nil
		}
		eventually := func(condition func() bool, what string) {
			require.Eventually(t, condition, timeout, 50*time.Millisecond, what)
		}
		require.NoError(t, cluster.Create(t.Context(), object))
		for name, replicas := range r.sets {
			stateful := &appsv1.StatefulSet{}
			eventually(func() bool { return get(stateful, name) }, name)
			assert.Equal(t, replicas, *stateful.Spec.Replicas)
			assert.True(t, metav1.IsControlledBy(stateful, object))
			pod := stateful.Spec.Template.Spec
			selector, _, err := unstructured.NestedStringMap(object.Object, "spec", "nodeSelector")
			require.NoError(t, err)
			assert.Equal(t, selector, pod.NodeSelector)
			tolerations, _, err := unstructured.NestedSlice(object.Object, "spec", "tolerations")
			require.NoError(t, err)
			assert.Len(t, pod.Tolerations, len(tolerations))
			claims := stateful.Spec.VolumeClaimTemplates
			if r.size == "" {
				assert.Empty(t, claims)
			} else if assert.Len(t, claims, 1) {
				assert.Equal(t, cmp.Or(r.claim, name), claims[0].Name)
				assert.Equal(t, r.size, claims[0].Spec.Resources.Requests.Storage().String())
			}

			// A deleted StatefulSet is created again, so the sweep must delete the custom resource.
			before := stateful.UID
			require.NoError(t, cluster.Delete(t.Context(), stateful))
			eventually(func() bool { return get(stateful, name) && stateful.UID != before }, name+" is created again")
		}
		require.True(t, get(object, object.GetName()))
		assert.Len(t, object.GetFinalizers(), 1)
		require.NoError(t, cluster.Delete(t.Context(), object))
		eventually(func() bool { return !get(object, object.GetName()) }, "the resource is gone")
		for name := range r.sets {
			eventually(func() bool { return !get(&appsv1.StatefulSet{}, name) }, name+" is gone")
		}
	})
}
