// Package controllers models what works inside a cluster, for as long as the models need it to: Argo CD brings
// back what is in Git, Deployments and StatefulSets have pods and claims, an Ingress becomes a load balancer and
// a DNS record in AWS, a claim a volume, and each goes when its object does. Slowly, as the real ones: what a
// controller does takes the time that AWS takes for it, at the rehearsal's factor.
//
// Nothing runs in between. The state of the models follows from their objects and the clock, so Settle does what
// is due by now, and is called before anybody looks. A controller is dead where its workload has no replicas, and
// all are where the machine of the control plane, on which they run, is gone.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/awsapi"
	"eco2/rehearsal/filelock"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/kubernetes/model"
	"eco2/rehearsal/latency"
)

// What AWS takes for what controllers ask of it: magnitudes, as in package aws.
const (
	// A new Application Load Balancer has its name at once and serves after some two minutes.
	balancerProvision = 2 * time.Minute
	// The controller deletes listeners, target groups and the load balancer itself one after the other.
	balancerDelete = 15 * time.Second
	// The load balancer's network interfaces are AWS's, which releases them in its own time.
	interfaceRelease = 40 * time.Second
	// A volume that is deleted is detached from its machine first.
	volumeDelete = 20 * time.Second
)

// Controllers are those of one cluster.
type Controllers struct {
	cluster  *model.Cluster
	account  *aws.Account
	latency  latency.Factor
	stateDir string
}

// New are the controllers of a cluster whose account is in the state directory.
func New(cluster *model.Cluster, stateDir string, factor latency.Factor) *Controllers {
	return &Controllers{cluster: cluster, account: aws.Open(stateDir), latency: factor, stateDir: stateDir}
}

// rounds bounds how often one controller's work is another's cause.
const rounds = 20

// Settle does what is due by now. One at a time does: whoever asks the models calls it, in several processes, and a
// controller that acts on what another has changed meanwhile makes things twice.
func (c *Controllers) Settle() error {
	unlock, err := filelock.Lock(filepath.Join(c.stateDir, "controllers.lock"))
	if err != nil {
		return fmt.Errorf("waiting for the controllers' turn: %w", err)
	}
	defer unlock()
	for range rounds {
		s, err := c.look()
		if err != nil {
			return fmt.Errorf("looking at the cluster for its controllers: %w", err)
		}
		if !s.alive {
			return nil
		}
		for _, work := range []func(*scene) error{argoCD, collect, prometheus, pods, claims, volumes, loadBalancers, records} {
			if err := work(s); err != nil {
				return fmt.Errorf("doing the controllers' work: %w", err)
			}
		}
		if !s.changed {
			return nil
		}
	}
	return fmt.Errorf("the controllers of the modelled cluster undo each other's work: no rest after %d rounds", rounds)
}

// scene is the cluster at one moment, and what controllers do about it.
type scene struct {
	*Controllers
	objects []model.Object
	// alive is whether the machine of the control plane runs.
	alive bool
	// name is the cluster's, machine the instance of the control plane.
	name    string
	machine aws.Instance
	// changed is whether anything was done that may be somebody's cause.
	changed bool
}

func (c *Controllers) look() (*scene, error) {
	s := &scene{Controllers: c}
	nodes, err := c.cluster.Nodes()
	if err != nil {
		return nil, err
	}
	instances, err := c.account.Instances()
	if err != nil {
		return nil, err
	}
	for _, node := range nodes {
		at := slices.IndexFunc(instances, func(i aws.Instance) bool {
			return node.ControlPlane && strings.HasSuffix(node.ProviderID, "/"+i.ID) && i.State == "running"
		})
		if at >= 0 {
			s.alive, s.machine = true, instances[at]
			s.name = strings.TrimSuffix(s.machine.Name(), "-"+node.Name)
		}
	}
	s.objects, err = c.cluster.List()
	return s, err
}

// of lists the objects of a kind.
func (s *scene) of(group, kind string) (found []model.Object) {
	for _, o := range s.objects {
		if o.Ref.Kind == kind && o.Ref.Group() == group {
			found = append(found, o)
		}
	}
	return found
}

func (s *scene) find(ref kubernetes.Ref) (model.Object, bool) {
	at := slices.IndexFunc(s.objects, func(o model.Object) bool {
		return o.Ref.Kind == ref.Kind && o.Ref.Group() == ref.Group() && o.Ref.Namespace == ref.Namespace && o.Ref.Name == ref.Name
	})
	if at < 0 {
		return model.Object{}, false
	}
	return s.objects[at], true
}

// runs says whether there is a workload of this name that has replicas, in any namespace.
func (s *scene) runs(kind, name string) bool {
	return slices.ContainsFunc(s.of("apps", kind), func(o model.Object) bool { return o.Ref.Name == name && replicas(o) > 0 })
}

// due says whether something that began at a time is over by now.
func (s *scene) due(since time.Time, takes time.Duration) bool {
	return !time.Now().Before(since.Add(s.latency.Of(takes)))
}

func (s *scene) apply(manager string, m kubernetes.Manifest) error {
	s.changed = true
	_, err := s.cluster.Apply(context.Background(), m, kubernetes.ApplyOptions{Manager: manager, Force: true})
	return err
}

func (s *scene) remove(ref kubernetes.Ref) error {
	s.changed = true
	return s.cluster.Delete(context.Background(), ref)
}

func (s *scene) hold(o model.Object, finalizer string) error {
	if !o.Deleted.IsZero() || o.HasFinalizer(finalizer) {
		return nil
	}
	return s.cluster.AddFinalizer(o.Ref, finalizer)
}

func (s *scene) letGo(o model.Object, finalizer string) error {
	s.changed = true
	return s.cluster.RemoveFinalizer(o.Ref, finalizer)
}

// caller calls AWS as the pods on the control plane's machine do.
func (s *scene) caller() awsapi.Caller {
	return awsapi.Caller{Account: s.account, Instance: s.machine, Provision: s.latency.Of(balancerProvision)}
}

// refused says in an event of a controller's why objects have not what they ask for.
func (s *scene) refused(controller, what string, about []model.Object, reason error) error {
	for _, o := range about {
		event := named("Event", cmp.Or(o.Ref.Namespace, "default"), o.Ref.Name+"."+controller)
		event["reason"], event["message"] = what, reason.Error()
		if is, there := s.find(event.Ref()); there && text(is.Live, "message") == reason.Error() {
			continue
		}
		if err := s.apply(controller, event); err != nil {
			return err
		}
	}
	return nil
}

// argoCD brings back what is in Git and not in the cluster. What has no namespace yet it tries again later.
func argoCD(s *scene) error {
	if !s.runs("StatefulSet", "argocd-application-controller") {
		return nil
	}
	managed, err := s.cluster.InGit()
	if err != nil {
		return err
	}
	for _, m := range managed {
		_, there := s.find(m.Ref())
		_, has := s.find(kubernetes.Ref{APIVersion: "v1", Kind: "Namespace", Name: m.Ref().Namespace})
		if !there && has {
			if err := s.apply("argocd-controller", m); err != nil {
				return err
			}
		}
	}
	return nil
}

// at follows keys through objects; nil where there is nothing.
func at(m map[string]any, keys ...string) any {
	var v any = m
	for _, key := range keys {
		inner, _ := v.(map[string]any)
		v = inner[key]
	}
	return v
}

func text(m map[string]any, keys ...string) string {
	s, _ := at(m, keys...).(string)
	return s
}

func list(m map[string]any, keys ...string) []any {
	l, _ := at(m, keys...).([]any)
	return l
}

func annotation(o model.Object, name string) string {
	return text(o.Live, "metadata", "annotations", name)
}
