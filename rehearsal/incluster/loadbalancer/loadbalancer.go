// Package loadbalancer stands in for the AWS Load Balancer Controller: it makes an Application Load Balancer of each
// group of Ingresses, as the real one does of those that it reads the same. The newest that was built from its Go module
// (2026-11-28) is v3.2.2, by its path on GitHub and a replace; it would need EC2's and ELB's own protocols from awsapi.
//
// What is the same: which Ingresses are a group, its finalizers, that a finalizer goes after the load balancer has
// gone, which machines are targets and when there are none, how subnets are found, and that an Ingress without a
// security group wants one made, which the role of the nodes is denied. What goes wrong is an event on the Ingress.
//
// What is not: annotations that the program does not set are refused and not ignored, as are the parameters of an
// IngressClass; there are no Services of type LoadBalancer, no targets by address, no TargetGroupBindings, no
// Gateways, no webhooks. The real one elects a leader among its replicas; two of these would do the same work twice.
package loadbalancer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	awsclient "eco2/rehearsal/awsapi/client"
	"eco2/rehearsal/incluster"
	"eco2/rehearsal/incluster/loadbalancer/describe"
)

// probes is where the real controller answers the kubelet.
const probes = ":61779"

const (
	// controllerName is what an IngressClass says of whose it is.
	controllerName = "ingress.k8s.aws/alb"
	// groupFinalizer is followed by the name of a group; an Ingress that is in none has the other.
	groupFinalizer = "group.ingress.k8s.aws/"
	finalizer      = "ingress.k8s.aws/resources"
)

// Settings are what the chart says.
type Settings struct {
	// Cluster is its name, VPC the network that it is in.
	Cluster, VPC string
	// SSLPolicy is that of listeners with TLS.
	SSLPolicy string
}

// Run runs the controller in its pod.
func Run(ctx context.Context, s Settings) error {
	aws, err := awsclient.New(ctx)
	if err != nil {
		return err
	}
	options, err := options()
	if err != nil {
		return err
	}
	return incluster.Run(ctx, options, func(m manager.Manager) error { return add(m, s, aws) })
}

func options() (manager.Options, error) {
	kinds, err := incluster.Kinds(corev1.AddToScheme, networkingv1.AddToScheme)
	return manager.Options{Scheme: kinds, HealthProbeBindAddress: probes}, err
}

// controller brings one group after the other to what its Ingresses say.
type controller struct {
	Settings
	cluster client.Client
	events  events.EventRecorder
	aws     describe.AWS
}

func add(m manager.Manager, s Settings, aws describe.AWS) error {
	c := &controller{Settings: s, cluster: m.GetClient(), events: m.GetEventRecorder("ingress"), aws: aws}
	everything := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		return c.allGroups(ctx)
	})
	return builder.ControllerManagedBy(m).Named("ingress").
		Watches(&networkingv1.Ingress{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
			return groupsOf(o.(*networkingv1.Ingress))
		})).
		Watches(&networkingv1.IngressClass{}, everything).
		Watches(&corev1.Service{}, everything).
		Watches(&corev1.Node{}, everything, builder.WithPredicates(targetsChange{})).
		Complete(c)
}

// group are the Ingresses that share a load balancer: those that name it, or without a name one alone.
type group struct{ namespace, name string }

func (g group) String() string { return strings.TrimPrefix(g.namespace+"/"+g.name, "/") }

func (g group) finalizer() string {
	if g.namespace == "" {
		return groupFinalizer + g.name
	}
	return finalizer
}

func groupOf(ingress *networkingv1.Ingress) group {
	if name := ingress.Annotations[describe.Annotation+"group.name"]; name != "" {
		return group{name: name}
	}
	return group{ingress.Namespace, ingress.Name}
}

// groupsOf are the groups that an Ingress is in and those whose finalizer it still has.
func groupsOf(ingress *networkingv1.Ingress) (requests []reconcile.Request) {
	groups := []group{groupOf(ingress)}
	for _, f := range ingress.Finalizers {
		if name, ok := strings.CutPrefix(f, groupFinalizer); ok {
			groups = append(groups, group{name: name})
		} else if f == finalizer {
			groups = append(groups, group{ingress.Namespace, ingress.Name})
		}
	}
	for _, g := range groups {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: g.namespace, Name: g.name}})
	}
	return requests
}

func (c *controller) allGroups(ctx context.Context) (requests []reconcile.Request) {
	var all networkingv1.IngressList
	if err := c.cluster.List(ctx, &all); err != nil {
		return nil // the cache is not filled yet, and will call when it is
	}
	for i := range all.Items {
		requests = append(requests, groupsOf(&all.Items[i])...)
	}
	return requests
}

// Reconcile implements reconcile.Reconciler for a group.
func (c *controller) Reconcile(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
	g := group{r.Namespace, r.Name}
	members, leaving, err := c.ingresses(ctx, g)
	if err != nil {
		return reconcile.Result{}, err
	}
	if len(members) > 0 {
		if err := c.balance(ctx, g, members); err != nil {
			return reconcile.Result{}, err
		}
	} else if len(leaving) > 0 {
		if err := c.remove(ctx, g); err != nil {
			c.say(leaving, corev1.EventTypeWarning, "FailedDeployModel", err.Error())
			return reconcile.Result{}, err
		}
	}
	for _, ingress := range leaving {
		if err := c.letGo(ctx, g, ingress); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, nil
}

// ingresses are the members of a group in the order in which their rules count, and those that leave it.
func (c *controller) ingresses(ctx context.Context, g group) (members, leaving []*networkingv1.Ingress, err error) {
	var all networkingv1.IngressList
	if err := c.cluster.List(ctx, &all); err != nil {
		return nil, nil, fmt.Errorf("listing Ingresses: %w", err)
	}
	var classes networkingv1.IngressClassList
	if err := c.cluster.List(ctx, &classes); err != nil {
		return nil, nil, fmt.Errorf("listing IngressClasses: %w", err)
	}
	ours := func(ingress *networkingv1.Ingress) bool {
		return slices.ContainsFunc(classes.Items, func(class networkingv1.IngressClass) bool {
			return ingress.Spec.IngressClassName != nil && *ingress.Spec.IngressClassName == class.Name && class.Spec.Controller == controllerName
		})
	}
	for i := range all.Items {
		ingress := &all.Items[i]
		switch {
		case groupOf(ingress) == g && ingress.DeletionTimestamp.IsZero() && ours(ingress):
			members = append(members, ingress)
		case controllerutil.ContainsFinalizer(ingress, g.finalizer()) && (g.namespace == "" || g == group{ingress.Namespace, ingress.Name}):
			leaving = append(leaving, ingress)
		}
	}
	slices.SortFunc(members, func(a, b *networkingv1.Ingress) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return members, leaving, nil
}

// balance makes the load balancer what the members say, and tells them its name.
func (c *controller) balance(ctx context.Context, g group, members []*networkingv1.Ingress) error {
	for _, ingress := range members {
		before := ingress.DeepCopy()
		if !controllerutil.AddFinalizer(ingress, g.finalizer()) {
			continue
		}
		if err := c.cluster.Patch(ctx, ingress, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return fmt.Errorf("holding Ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
		}
	}
	wanted, err := c.describe(ctx, g, members)
	if err != nil {
		c.say(members, corev1.EventTypeWarning, "FailedBuildModel", err.Error())
		return err
	}
	balancer, err := describe.Deploy(ctx, c.aws, c.Cluster, c.VPC, wanted)
	if err != nil {
		c.say(members, corev1.EventTypeWarning, "FailedDeployModel", err.Error())
		return err
	}
	for _, ingress := range members {
		if err := c.publish(ctx, ingress, networkingv1.IngressLoadBalancerIngress{Hostname: balancer.DNSName}); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) publish(ctx context.Context, ingress *networkingv1.Ingress, address ...networkingv1.IngressLoadBalancerIngress) error {
	equal := func(a, b networkingv1.IngressLoadBalancerIngress) bool { return a.Hostname == b.Hostname }
	if slices.EqualFunc(ingress.Status.LoadBalancer.Ingress, address, equal) {
		return nil
	}
	before := ingress.DeepCopy()
	ingress.Status.LoadBalancer.Ingress = address
	if err := c.cluster.Status().Patch(ctx, ingress, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("publishing the address of Ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
	}
	c.say([]*networkingv1.Ingress{ingress}, corev1.EventTypeNormal, "SuccessfullyReconciled", "Successfully reconciled")
	return nil
}

// letGo takes the group's finalizer from an Ingress. One that lives on has no address, until another group gives it one.
func (c *controller) letGo(ctx context.Context, g group, ingress *networkingv1.Ingress) error {
	if ingress.DeletionTimestamp.IsZero() {
		if err := c.publish(ctx, ingress); err != nil {
			return err
		}
	}
	before := ingress.DeepCopy()
	controllerutil.RemoveFinalizer(ingress, g.finalizer())
	if err := c.cluster.Patch(ctx, ingress, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("letting go of Ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
	}
	return nil
}

func (c *controller) say(about []*networkingv1.Ingress, kind, reason, note string) {
	for _, ingress := range about {
		c.events.Eventf(ingress, nil, kind, reason, "Reconcile", "%s", note)
	}
}
