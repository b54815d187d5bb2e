package operators

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Redis stands in for OT Container Kit's Redis operator.
var Redis = Operator{
	redis("Redis", "redisFinalizer", func(name string, r redisSpec) []set { return []set{r.set(name, 1)} }),
	redis("RedisReplication", "redisReplicationFinalizer", func(name string, r redisSpec) []set {
		return []set{r.set(name, r.ClusterSize)}
	}),
	redis("RedisCluster", "redisClusterFinalizer", func(name string, r redisSpec) []set {
		return []set{r.set(name+"-leader", r.ClusterSize), r.set(name+"-follower", r.ClusterSize)}
	}),
	redis("RedisSentinel", "redisSentinelFinalizer", func(name string, r redisSpec) []set {
		return []set{r.set(name+"-sentinel", r.ClusterSize)}
	}),
}

// redisSpec holds the supported fields of all its kinds. Not every kind has each of them.
type redisSpec struct {
	ClusterSize int32 `json:"clusterSize"`
	Storage     struct {
		VolumeClaimTemplate struct {
			Spec *corev1.PersistentVolumeClaimSpec `json:"spec"`
		} `json:"volumeClaimTemplate"`
	} `json:"storage"`
	placement
}

func (r redisSpec) set(name string, replicas int32) set {
	return set{name: name, replicas: replicas, claim: name, volume: r.Storage.VolumeClaimTemplate.Spec, placement: r.placement}
}

func redis(name, finalizer string, sets func(string, redisSpec) []set) kind {
	return kind{
		GroupVersionKind: schema.GroupVersionKind{Group: "redis.redis.opstreelabs.in", Version: "v1beta2", Kind: name},
		finalizer:        finalizer, sets: reading(sets),
	}
}

// RabbitMQ stands in for the RabbitMQ cluster operator.
var RabbitMQ = Operator{{
	GroupVersionKind: schema.GroupVersionKind{Group: "rabbitmq.com", Version: "v1beta1", Kind: "RabbitmqCluster"},
	finalizer:        "deletion.finalizers.rabbitmqclusters.rabbitmq.com",
	sets:             reading(func(name string, r rabbitMQSpec) []set { return []set{r.set(name + "-server")} }),
}}

type rabbitMQSpec struct {
	Replicas    *int32 `json:"replicas"`
	Persistence struct {
		StorageClassName *string            `json:"storageClassName"`
		Storage          *resource.Quantity `json:"storage"`
	} `json:"persistence"`
	placement
}

func (r rabbitMQSpec) set(name string) set {
	out := set{name: name, replicas: 1, claim: "persistence", placement: r.placement}
	if r.Replicas != nil {
		out.replicas = *r.Replicas
	}
	size := resource.MustParse("10Gi")
	if r.Persistence.Storage != nil {
		size = *r.Persistence.Storage
	}
	// Size 0 means a cluster without persistence.
	if !size.IsZero() {
		out.volume = &corev1.PersistentVolumeClaimSpec{
			StorageClassName: r.Persistence.StorageClassName,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		}
	}
	return out
}

// reading returns a function that decodes a resource's spec and passes it to sets.
func reading[T any](sets func(name string, spec T) []set) func(*unstructured.Unstructured) ([]set, error) {
	return func(object *unstructured.Unstructured) ([]set, error) {
		var read struct {
			Spec T `json:"spec"`
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &read); err != nil {
			return nil, fmt.Errorf("its spec: %w", err)
		}
		return sets(object.GetName(), read.Spec), nil
	}
}
