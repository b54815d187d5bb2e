// Package operators stands in for the operators of Redis and RabbitMQ. For each of their custom resources it creates
// StatefulSets with volumes, which the resource owns and which it creates again when somebody deletes them, and it adds
// a finalizer to the resource. A destroy of the cluster has to cope with both.
//
// The pods run neither Redis nor RabbitMQ but the tests' probe. There are no passwords, no Services and no replication,
// and all fields except those for volumes, size and placement are ignored. The real Redis operator also deletes the
// volumes of a deleted resource; here they stay, as RabbitMQ's do. The real operators elect a leader among their
// replicas; here there is one replica.
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

	"eco2/rehearsal/standin"
)

// image is the image of the tests' probe.
const image = "eco2.example/probe:1"

// Operator is the list of the kinds that an operator handles.
type Operator []kind

// kind describes one kind of custom resource.
type kind struct {
	schema.GroupVersionKind
	finalizer string
	// sets returns the StatefulSets that a resource requires.
	sets func(*unstructured.Unstructured) ([]set, error)
}

// set describes a StatefulSet.
type set struct {
	name     string
	replicas int32
	// claim is the name of the volume claim template, with which the claims' names begin.
	claim string
	// volume is the claim's spec; nil if the set has no volume.
	volume *corev1.PersistentVolumeClaimSpec
	placement
}

// placement holds the fields that restrict on which nodes pods run. They are the same in all kinds.
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
	return standin.Run(ctx, options, o.add)
}

func options() (manager.Options, error) {
	scheme, err := standin.NewScheme(appsv1.AddToScheme)
	return manager.Options{Scheme: scheme}, err
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

// controller creates the StatefulSets of one kind of custom resource.
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
			return reconcile.Result{}, fmt.Errorf("adding the finalizer to %s %s: %w", c.Kind, r, err)
		}
	}
	sets, err := c.sets(object)
	if err != nil {
		return reconcile.Result{}, reconcile.TerminalError(fmt.Errorf("reading %s %s: %w", c.Kind, r, err))
	}
	for _, s := range sets {
		if err := c.apply(ctx, object, s); err != nil {
			return reconcile.Result{}, fmt.Errorf("applying StatefulSet %s of %s %s: %w", s.name, c.Kind, r, err)
		}
	}
	return reconcile.Result{}, nil
}

func (c *controller) apply(ctx context.Context, owner *unstructured.Unstructured, s set) error {
	stateful := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), Name: s.name}}
	_, err := controllerutil.CreateOrUpdate(ctx, c.cluster, stateful, func() error {
		s.fill(stateful)
		return controllerutil.SetControllerReference(owner, stateful, c.cluster.Scheme())
	})
	return err
}

// fill sets the fields that the operator controls. Fields that cannot be changed later are set in a new object only.
func (s set) fill(stateful *appsv1.StatefulSet) {
	labels := map[string]string{"app": s.name}
	stateful.Spec.Replicas = &s.replicas
	if stateful.CreationTimestamp.IsZero() {
		stateful.Spec.ServiceName, stateful.Spec.Selector = s.name, &metav1.LabelSelector{MatchLabels: labels}
		if s.volume != nil {
			stateful.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: s.claim}, Spec: *s.volume,
			}}
		}
	}
	stateful.Spec.Template.Labels = labels
	pod := &stateful.Spec.Template.Spec
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
