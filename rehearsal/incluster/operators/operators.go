// Package operators stands in for the operators of Redis and RabbitMQ: of each of their custom resources it makes
// StatefulSets with volumes, which belong to it and come back when they are deleted, and holds it with a finalizer.
// That is what a cluster that is to be destroyed has to cope with.
//
// What runs is neither Redis nor RabbitMQ: the pods answer the tests' probe. There are no passwords, no Services and no
// replication, and no fields count but those of volumes, size and placement. Redis's operator also deletes the volumes
// of what goes; here they stay, as RabbitMQ's do. The real ones elect a leader among their replicas; here there is one.
package operators

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"eco2/rehearsal/incluster"
)

// image is the tests' probe.
const image = "eco2.example/probe:1"

// Operator is one of the two.
type Operator []kind

// kind is a custom resource.
type kind struct {
	schema.GroupVersionKind
	finalizer string
	// sets are the StatefulSets that a resource asks for.
	sets func(*unstructured.Unstructured) ([]set, error)
}

// set is a StatefulSet to be.
type set struct {
	name     string
	replicas int32
	// claim is the name of its volume, which is the beginning of the names of its claims.
	claim string
	// volume is nil where there is none.
	volume *corev1.PersistentVolumeClaimSpec
	placement
}

// placement is where pods may run. All kinds say it alike.
type placement struct {
	NodeSelector map[string]string   `json:"nodeSelector"`
	Tolerations  []corev1.Toleration `json:"tolerations"`
	Affinity     *corev1.Affinity    `json:"affinity"`
}

// Run runs an operator in its pod.
func Run(ctx context.Context, o Operator) error {
	options, err := options()
	if err != nil {
		return err
	}
	return incluster.Run(ctx, options, o.add)
}

func options() (manager.Options, error) {
	kinds, err := incluster.Kinds(appsv1.AddToScheme)
	return manager.Options{Scheme: kinds}, err
}

func (o Operator) add(m manager.Manager) error {
	for _, k := range o {
		c := &controller{kind: k, cluster: m.GetClient()}
		if err := builder.ControllerManagedBy(m).Named(k.Kind).For(c.object()).Owns(&appsv1.StatefulSet{}).Complete(c); err != nil {
			return fmt.Errorf("preparing the controller of %s: %w", k.Kind, err)
		}
	}
	return nil
}

// controller makes what one kind of resource asks for.
type controller struct {
	kind
	cluster client.Client
}

func (c *controller) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(c.GroupVersionKind)
	return object
}

// Reconcile implements reconcile.Reconciler.
func (c *controller) Reconcile(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	object := c.object()
	if err := c.cluster.Get(ctx, r.NamespacedName, object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	before := object.DeepCopy()
	if !object.GetDeletionTimestamp().IsZero() {
		if !controllerutil.RemoveFinalizer(object, c.finalizer) {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, client.IgnoreNotFound(c.cluster.Patch(ctx, object, client.MergeFrom(before)))
	}
	if controllerutil.AddFinalizer(object, c.finalizer) {
		if err := c.cluster.Patch(ctx, object, client.MergeFrom(before)); err != nil {
			return reconcile.Result{}, fmt.Errorf("holding %s %s: %w", c.Kind, r, err)
		}
	}
	sets, err := c.sets(object)
	if err != nil {
		return reconcile.Result{}, reconcile.TerminalError(fmt.Errorf("reading %s %s: %w", c.Kind, r, err))
	}
	for _, s := range sets {
		if err := c.apply(ctx, object, s); err != nil {
			return reconcile.Result{}, fmt.Errorf("making StatefulSet %s of %s %s: %w", s.name, c.Kind, r, err)
		}
	}
	return reconcile.Result{}, nil
}

func (c *controller) apply(ctx context.Context, owner *unstructured.Unstructured, s set) error {
	made := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), Name: s.name}}
	_, err := controllerutil.CreateOrUpdate(ctx, c.cluster, made, func() error {
		s.fill(made)
		return controllerutil.SetControllerReference(owner, made, c.cluster.Scheme())
	})
	return err
}

// fill sets what the operator decides. Much of a StatefulSet cannot be changed later.
func (s set) fill(made *appsv1.StatefulSet) {
	labels := map[string]string{"app": s.name}
	made.Spec.Replicas = &s.replicas
	if made.CreationTimestamp.IsZero() {
		made.Spec.ServiceName, made.Spec.Selector = s.name, &metav1.LabelSelector{MatchLabels: labels}
		if s.volume != nil {
			made.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: s.claim}, Spec: *s.volume,
			}}
		}
	}
	made.Spec.Template.Labels = labels
	pod := &made.Spec.Template.Spec
	pod.NodeSelector, pod.Tolerations, pod.Affinity = s.NodeSelector, s.Tolerations, s.Affinity
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Name: s.name}}
	}
	probe := &pod.Containers[0]
	probe.Image, probe.Args = image, []string{"serve"}
	if s.volume != nil {
		probe.VolumeMounts = []corev1.VolumeMount{{Name: s.claim, MountPath: "/data"}}
	}
}
