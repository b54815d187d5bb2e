// Package controllers models the controllers inside a cluster, as far as the rehearsal's models need them: Argo CD
// restores what is in Git, Deployments and StatefulSets get pods and claims, an Ingress gets a load balancer and DNS
// records on AWS, a claim gets a volume, and each of these is deleted with its object. A controller's work takes as
// long as AWS takes for it, scaled by the latency factor.
//
// Nothing runs in the background. The state of the models follows from their objects and the clock, so Settle does all
// work that is due by now, and is called before each access. A controller does not run if its workload has no replicas,
// and none runs if the instance of the control plane, on which they all run, does not exist.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/cloud/api"
	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/setup"
)

// How long AWS takes for the operations of controllers. These are orders of magnitude, as in package aws.
const (
	// A new Application Load Balancer has a DNS name at once and is active after about two minutes.
	balancerProvision = 2 * time.Minute
	// The controller deletes listeners, target groups and the load balancer itself one after the other.
	balancerDelete = 15 * time.Second
	// The load balancer's network interfaces belong to AWS, which releases them later.
	interfaceRelease = 40 * time.Second
	// A volume is detached from its instance before it is deleted.
	volumeDelete = 20 * time.Second
)

// Controllers models the controllers of one cluster.
type Controllers struct {
	cluster  *model.Cluster
	account  *aws.Account
	latency  setup.Latency
	stateDir string
}

// New returns the controllers of a cluster whose AWS account is in the state directory.
func New(cluster *model.Cluster, stateDir string, factor setup.Latency) *Controllers {
	return &Controllers{cluster: cluster, account: aws.Open(stateDir), latency: factor, stateDir: stateDir}
}

// maxRounds limits the rounds of work in one Settle, in each of which one controller may react to another.
const maxRounds = 20

// Settle does all work that is due by now. Callers in several processes take turns by a file lock: two controllers that
// act on the same state at the same time would create things twice.
func (c *Controllers) Settle() error {
	unlock, err := filelock.Lock(filepath.Join(c.stateDir, "controllers.lock"))
	if err != nil {
		return fmt.Errorf("waiting for the lock of the controllers: %w", err)
	}
	defer unlock()
	for range maxRounds {
		s, err := c.observe()
		if err != nil {
			return fmt.Errorf("reading the state of the cluster for its controllers: %w", err)
		}
		if !s.alive {
			return nil
		}
		for _, work := range []func(*snapshot) error{argoCD, garbageCollect, prometheus, pods, claims, volumes, loadBalancers, records} {
			if err := work(s); err != nil {
				return fmt.Errorf("running the controllers: %w", err)
			}
		}
		if !s.changed {
			return nil
		}
	}
	return fmt.Errorf("the controllers of the modelled cluster undo each other's work: they have not settled after %d rounds", maxRounds)
}

// snapshot is the state of the cluster at one moment, on which controllers work.
type snapshot struct {
	*Controllers
	objects []model.Object
	// alive is true if the instance of the control plane is running.
	alive bool
	// name is the cluster's name, machine the instance of the control plane.
	name    string
	machine aws.Instance
	// changed is true if something was changed that another controller may react to.
	changed bool
}

func (c *Controllers) observe() (*snapshot, error) {
	s := &snapshot{Controllers: c}
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
func (s *snapshot) of(group, kind string) (found []model.Object) {
	for _, o := range s.objects {
		if o.Ref.Kind == kind && o.Ref.Group() == group {
			found = append(found, o)
		}
	}
	return found
}

func (s *snapshot) find(ref provider.Ref) (model.Object, bool) {
	at := slices.IndexFunc(s.objects, func(o model.Object) bool {
		return o.Ref.Kind == ref.Kind && o.Ref.Group() == ref.Group() && o.Ref.Namespace == ref.Namespace && o.Ref.Name == ref.Name
	})
	if at < 0 {
		return model.Object{}, false
	}
	return s.objects[at], true
}

// runs reports whether a workload of this name has replicas, in any namespace.
func (s *snapshot) runs(kind, name string) bool {
	return slices.ContainsFunc(s.of("apps", kind), func(o model.Object) bool { return o.Ref.Name == name && replicas(o) > 0 })
}

// elapsed reports whether an operation that began at a time and takes a certain time at factor 1 is over by now.
func (s *snapshot) elapsed(since time.Time, takes time.Duration) bool {
	return !time.Now().Before(since.Add(s.latency.Of(takes)))
}

func (s *snapshot) apply(manager string, m provider.Manifest) error {
	s.changed = true
	_, err := s.cluster.Apply(context.Background(), m, provider.ApplyOptions{Manager: manager, Force: true})
	return err
}

func (s *snapshot) remove(ref provider.Ref) error {
	s.changed = true
	return s.cluster.Delete(context.Background(), ref)
}

func (s *snapshot) addFinalizer(o model.Object, finalizer string) error {
	if !o.Deleted.IsZero() || o.HasFinalizer(finalizer) {
		return nil
	}
	return s.cluster.AddFinalizer(o.Ref, finalizer)
}

func (s *snapshot) removeFinalizer(o model.Object, finalizer string) error {
	s.changed = true
	return s.cluster.RemoveFinalizer(o.Ref, finalizer)
}

// caller returns a caller of AWS's API with the role of the control plane's instance.
func (s *snapshot) caller() api.Caller {
	return api.Caller{Account: s.account, Instance: s.machine, Provision: s.latency.Of(balancerProvision)}
}

// recordFailure records an event for each object, with the reason why a controller could not do its work.
func (s *snapshot) recordFailure(controller, what string, about []model.Object, reason error) error {
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

// argoCD restores objects that are in Git and not in the cluster. It skips those whose namespace does not exist yet.
func argoCD(s *snapshot) error {
	if !s.runs("StatefulSet", "argocd-application-controller") {
		return nil
	}
	managed, err := s.cluster.InGit()
	if err != nil {
		return err
	}
	for _, m := range managed {
		_, there := s.find(m.Ref())
		_, has := s.find(provider.Ref{APIVersion: "v1", Kind: "Namespace", Name: m.Ref().Namespace})
		if !there && has {
			if err := s.apply("argocd-controller", m); err != nil {
				return err
			}
		}
	}
	return nil
}

// at returns the value at a path of keys in nested objects, or nil.
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
