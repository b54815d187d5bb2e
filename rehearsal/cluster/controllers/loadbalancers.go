package controllers

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/controllers/describe"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/fault"
)

const balancerController = "aws-load-balancer-controller"

// group holds the Ingresses that share a load balancer.
type group struct {
	// finalizer is the finalizer that the controller adds to each of them.
	finalizer     string
	live, deleted []model.Object
}

// loadBalancers creates a load balancer for each group of Ingresses, and deletes it with the last of them.
func loadBalancers(s *snapshot) error {
	if !s.runs("Deployment", balancerController) {
		return nil
	}
	groups := map[string]*group{}
	for _, ingress := range s.of("networking.k8s.io", "Ingress") {
		if text(ingress.Live, "spec", "ingressClassName") != "alb" {
			continue
		}
		name, finalizer := annotation(ingress, describe.Annotation+"group.name"), ""
		if name == "" {
			name, finalizer = ingress.Ref.Namespace+"/"+ingress.Ref.Name, "ingress.k8s.aws/resources"
		} else {
			finalizer = "group.ingress.k8s.aws/" + name
		}
		if groups[name] == nil {
			groups[name] = &group{finalizer: finalizer}
		}
		if g := groups[name]; ingress.Deleted.IsZero() {
			g.live = append(g.live, ingress)
		} else {
			g.deleted = append(g.deleted, ingress)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if err := s.reconcileGroup(name, groups[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshot) reconcileGroup(name string, g *group) error {
	for _, ingress := range g.live {
		if err := s.addFinalizer(ingress, g.finalizer); err != nil {
			return err
		}
	}
	is, found, err := s.existing(describe.Cluster{Name: s.name}.BalancerName(name), name)
	if err != nil {
		return err
	}
	found = found || len(is.TargetGroups) > 0
	if len(g.live) > 0 {
		is, refusal := s.deploy(name, g.live)
		if refusal != nil {
			if err := s.recordFailure(balancerController, "FailedDeployModel", g.live, refusal); err != nil {
				return err
			}
		}
		for _, ingress := range g.live {
			if refusal != nil || hostname(ingress) == is.DNSName {
				continue
			}
			status := provider.Manifest{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"hostname": is.DNSName}}}}
			s.changed = true
			if err := s.cluster.SetStatus(ingress.Ref, status); err != nil {
				return err
			}
		}
	}
	for _, ingress := range g.deleted {
		if !ingress.HasFinalizer(g.finalizer) || len(g.live) == 0 && found && !s.elapsed(ingress.Deleted, balancerDelete) {
			continue
		}
		if len(g.live) == 0 && found {
			held, err := s.interfaceReleaseTime(is.Name)
			if err != nil {
				return err
			}
			caller := s.caller()
			caller.Release = s.latency.Of(held)
			if refusal := s.deleteStack(caller, is); refusal != nil { // the finalizers stay until AWS allows the delete
				return s.recordFailure(balancerController, "FailedDeployModel", g.deleted, refusal)
			}
			found = false
		}
		if err := s.removeFinalizer(ingress, g.finalizer); err != nil {
			return err
		}
	}
	return nil
}

// interfaceReleaseTime returns how long AWS keeps the interfaces of a deleted load balancer, at factor 1.
func (s *snapshot) interfaceReleaseTime(balancer string) (time.Duration, error) {
	met, hit, err := fault.Trigger(s.stateDir, fault.Held, fault.Call{Method: "Delete", Type: aws.LoadBalancerKind, Name: balancer})
	if err != nil || !hit {
		return interfaceRelease, err
	}
	return time.Duration(met.Seconds * float64(time.Second)), nil
}

// anyNodePort stands for the NodePort of every Service: the model assigns none, as load balancers carry no traffic in
// it.
const anyNodePort = 30000

// deploy creates or updates the load balancer of a group as its Ingresses describe it.
func (s *snapshot) deploy(group string, members []model.Object) (is aws.LoadBalancer, err error) {
	subnets, err := s.account.Subnets()
	if err != nil {
		return is, err
	}
	subnets = slices.DeleteFunc(subnets, func(subnet aws.Subnet) bool { return subnet.VPCID != s.machine.VPCID })
	nodes, err := s.cluster.Nodes()
	if err != nil {
		return is, err
	}
	cluster := describe.Cluster{
		Name: s.name, Subnets: subnets,
		NodePort: func(types.NamespacedName, intstr.IntOrString) (int, error) { return anyNodePort, nil },
	}
	for _, node := range nodes {
		if node.Ready && !node.ControlPlane {
			cluster.Targets = append(cluster.Targets, path.Base(node.ProviderID))
		}
	}
	slices.Sort(cluster.Targets)
	var ingresses []*networkingv1.Ingress
	for _, member := range members {
		ingress := &networkingv1.Ingress{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(member.Live, ingress); err != nil {
			return is, fmt.Errorf("reading %s: %w", member.Ref, err)
		}
		ingress.Namespace, ingress.Name = member.Ref.Namespace, member.Ref.Name
		ingresses = append(ingresses, ingress)
	}
	wanted, err := cluster.LoadBalancer(group, ingresses)
	if err != nil {
		return is, err
	}
	return s.applyStack(group, wanted)
}

// hostname returns the load balancer's DNS name from an Ingress's status.
func hostname(ingress model.Object) string {
	first, _ := append(list(ingress.Live, "status", "loadBalancer", "ingress"), nil)[0].(map[string]any)
	return text(first, "hostname")
}
