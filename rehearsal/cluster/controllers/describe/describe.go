// Package describe computes the load balancer that Ingresses describe, as the AWS Load Balancer Controller does, for
// the model of that controller. It supports the annotations that the program sets, and rejects the others.
package describe

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	networkingv1 "k8s.io/api/networking/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"eco2/rehearsal/cloud/aws"
)

// ClusterTag is a tag on all resources of a cluster, with its name. The policies of the nodes' role depend on it.
const ClusterTag = "elbv2.k8s.aws/cluster"

// GroupTag is a tag with the name of the Ingress group that a resource belongs to.
const GroupTag = "ingress.k8s.aws/stack"

// Tags of subnets that say what they are for.
const (
	publicTag   = "kubernetes.io/role/elb"
	internalTag = "kubernetes.io/role/internal-elb"
	ownerTag    = "kubernetes.io/cluster/"
	neededZones = 2
)

// Cluster holds the properties of the Ingresses' cluster that a load balancer depends on.
type Cluster struct {
	Name string
	// Subnets are the subnets of its VPC.
	Subnets []aws.Subnet
	// Targets are the IDs of the instances to register as targets.
	Targets []string
	// SSLPolicy is the security policy of HTTPS listeners.
	SSLPolicy string
	// NodePort returns the NodePort of a Service's port.
	NodePort func(service apitypes.NamespacedName, port intstr.IntOrString) (int, error)
}

// BalancerName returns the name of a group's load balancer.
func (c Cluster) BalancerName(group string) string { return balancerName(c.Name, group) }

// Stack is a load balancer and its target groups as they should be, without properties that only AWS determines. In
// rules, the name of a target group stands for its ARN.
type Stack struct {
	aws.LoadBalancer
	TargetGroups []aws.TargetGroup
}

// LoadBalancer returns the load balancer that the members of a group describe.
func (c Cluster) LoadBalancer(group string, members []*networkingv1.Ingress) (Stack, error) {
	tags := map[string]string{ClusterTag: c.Name, GroupTag: group}
	b := Stack{LoadBalancer: aws.LoadBalancer{Name: balancerName(c.Name, group), Scheme: "internal", Tags: tags}}
	var certificates []string
	var subnets []string
	redirect, internetFacing := 0, false
	for i, ingress := range members {
		w, err := parseAnnotations(ingress)
		if err != nil {
			return b, err
		}
		conflict := func(what string, is, wanted any) error {
			return fmt.Errorf("ingress %s/%s: conflicting %s in group %s: %v and %v", ingress.Namespace, ingress.Name, what, group, is, wanted)
		}
		switch {
		case i > 0 && internetFacing != w.internetFacing:
			return b, conflict("scheme", "internet-facing", "internal")
		case redirect > 0 && w.redirect > 0 && redirect != w.redirect:
			return b, conflict("ssl-redirect", redirect, w.redirect)
		case len(b.SecurityGroupIDs) > 0 && len(w.securityGroups) > 0 && !slices.Equal(b.SecurityGroupIDs, w.securityGroups):
			return b, conflict("securityGroups", b.SecurityGroupIDs, w.securityGroups)
		}
		if len(subnets) > 0 && len(w.subnets) > 0 && !slices.Equal(subnets, w.subnets) {
			return b, conflict("subnets", subnets, w.subnets)
		}
		if len(w.subnets) > 0 {
			subnets = w.subnets // one member sets them for the whole group
		}
		internetFacing, redirect = w.internetFacing, max(redirect, w.redirect)
		if len(w.securityGroups) > 0 {
			b.SecurityGroupIDs = w.securityGroups // one member sets them for the whole group
		}
		certificates = append(certificates, w.certificates...)

		rules, groups, err := c.rules(group, ingress, w)
		if err != nil {
			return b, fmt.Errorf("ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
		}
		for _, added := range groups {
			added.Tags = tags
			for _, id := range c.Targets {
				added.Targets = append(added.Targets, aws.Target{InstanceID: id, Port: added.Port})
			}
			at := slices.IndexFunc(b.TargetGroups, func(is aws.TargetGroup) bool { return is.Name == added.Name })
			if at < 0 {
				b.TargetGroups = append(b.TargetGroups, added)
			} else if !reflect.DeepEqual(b.TargetGroups[at], added) {
				return b, conflict("health checks of a Service", b.TargetGroups[at], added)
			}
		}
		for _, added := range w.listeners {
			at := slices.IndexFunc(b.Listeners, func(is aws.Listener) bool { return is.Port == added.Port })
			if at < 0 {
				added.Default, added.Tags = aws.RespondNotFound(), tags
				if added.Protocol == "HTTPS" {
					added.SSLPolicy = c.SSLPolicy
				}
				at, b.Listeners = len(b.Listeners), append(b.Listeners, added)
			}
			if b.Listeners[at].Protocol != added.Protocol {
				return b, conflict("protocol of port", b.Listeners[at].Protocol, added.Protocol)
			}
			for _, rule := range rules {
				rule.Priority, rule.Tags = len(b.Listeners[at].Rules)+1, tags
				b.Listeners[at].Rules = append(b.Listeners[at].Rules, rule)
			}
		}
	}
	if internetFacing {
		b.Scheme = "internet-facing"
	}
	slices.Sort(certificates)
	slices.SortFunc(b.Listeners, func(x, y aws.Listener) int { return cmp.Compare(x.Port, y.Port) })
	slices.SortFunc(b.TargetGroups, func(x, y aws.TargetGroup) int { return cmp.Compare(x.Name, y.Name) })
	err := applyTLS(b.Listeners, slices.Compact(certificates), redirect)
	if b.SubnetIDs = subnets; err != nil || len(subnets) > 0 {
		return b, err
	}
	b.SubnetIDs, err = c.discoverSubnets(internetFacing)
	return b, err
}

// discoverSubnets returns the subnets with the tag for load balancers, one in each availability zone.
func (c Cluster) discoverSubnets(internetFacing bool) ([]string, error) {
	tag := internalTag
	if internetFacing {
		tag = publicTag
	}
	subnets := slices.SortedFunc(slices.Values(c.Subnets), func(a, b aws.Subnet) int {
		return cmp.Or(cmp.Compare(a.AvailabilityZone, b.AvailabilityZone), cmp.Compare(a.ID, b.ID))
	})
	var ids []string
	zone := ""
	for _, subnet := range subnets {
		if value, tagged := subnet.Tags[tag]; !tagged || value != "" && value != "1" || c.ownedByOthers(subnet) || subnet.AvailabilityZone == zone {
			continue
		}
		ids, zone = append(ids, subnet.ID), subnet.AvailabilityZone
	}
	if len(ids) < neededZones {
		return nil, fmt.Errorf("couldn't auto-discover subnets: %d zone(s) have one with the tag %s, and a load balancer needs %d",
			len(ids), tag, neededZones)
	}
	return ids, nil
}

// ownedByOthers reports whether a subnet is tagged for other clusters only.
func (c Cluster) ownedByOthers(subnet aws.Subnet) bool {
	foreign := false
	for tag := range subnet.Tags {
		if tag == ownerTag+c.Name {
			return false
		}
		foreign = foreign || len(tag) > len(ownerTag) && tag[:len(ownerTag)] == ownerTag
	}
	return foreign
}

// applyTLS sets the certificates of HTTPS listeners, and makes HTTP listeners redirect to the HTTPS port.
func applyTLS(listeners []aws.Listener, certificates []string, redirect int) error {
	tls := func(l aws.Listener) bool { return l.Protocol == "HTTPS" }
	if redirect > 0 && !slices.ContainsFunc(listeners, func(l aws.Listener) bool { return tls(l) && l.Port == redirect }) {
		return fmt.Errorf("listener does not exist for SSLRedirect port: %d", redirect)
	}
	for i := range listeners {
		l := &listeners[i]
		switch {
		case tls(*l) && len(certificates) == 0:
			return fmt.Errorf("no certificate for HTTPS: the model of the controller does not discover certificates; set the annotation %scertificate-arn", Annotation)
		case tls(*l):
			l.CertificateARNs = certificates
		case redirect > 0:
			l.Default, l.Rules = aws.RedirectTo(redirect), nil
		}
	}
	return nil
}

// useAnnotation is the name of a backend's port that says that the backend is an action in an annotation.
const useAnnotation = "use-annotation"

// rules returns the rules of an Ingress, and the target groups that they forward to.
func (c Cluster) rules(group string, ingress *networkingv1.Ingress, w settings) (rules []aws.ListenerRule, groups []aws.TargetGroup, err error) {
	if ingress.Spec.DefaultBackend != nil {
		return nil, nil, errors.New("the model of the controller does not support a default backend")
	}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		// Exact paths come before prefixes, and longer paths before shorter ones.
		paths := slices.SortedStableFunc(slices.Values(rule.HTTP.Paths), func(a, b networkingv1.HTTPIngressPath) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), -cmp.Compare(len(a.Path), len(b.Path)))
		})
		for _, path := range paths {
			backend := path.Backend.Service
			if backend == nil {
				return nil, nil, fmt.Errorf("path %q has no Service as its backend", path.Path)
			}
			wanted := aws.ListenerRule{Conditions: []types.RuleCondition{aws.PathCondition(patterns(path)...)}}
			if backend.Port.Name == useAnnotation {
				action, found := w.actions[backend.Name]
				if !found {
					return nil, nil, fmt.Errorf("missing actions.%s configuration", backend.Name)
				}
				wanted.Actions = []types.Action{action}
			} else {
				target, err := c.targetGroup(group, ingress.Namespace, *backend, w.target)
				if err != nil {
					return nil, nil, err
				}
				groups, wanted.Actions = append(groups, target), aws.ForwardTo(target.Name)
			}
			if rule.Host != "" {
				wanted.Conditions = append(wanted.Conditions, aws.HostCondition(rule.Host))
			}
			rules = append(rules, wanted)
		}
	}
	return rules, groups, nil
}

// targetGroup returns the target group of a Service, with the other settings of like.
func (c Cluster) targetGroup(group, namespace string, backend networkingv1.IngressServiceBackend, like aws.TargetGroup) (aws.TargetGroup, error) {
	port := intstr.FromInt32(backend.Port.Number)
	if backend.Port.Name != "" {
		port = intstr.FromString(backend.Port.Name)
	}
	target := like
	var err error
	target.Port, err = c.NodePort(apitypes.NamespacedName{Namespace: namespace, Name: backend.Name}, port)
	target.Name = groupName(c.Name, group, namespace, backend.Name, port.String())
	return target, err
}

func rank(path networkingv1.HTTPIngressPath) int {
	if path.PathType != nil && *path.PathType == networkingv1.PathTypeExact {
		return 0
	}
	return 1
}

// patterns returns the path patterns of a load balancer's rule. A prefix matches whole path elements only.
func patterns(path networkingv1.HTTPIngressPath) []string {
	switch {
	case path.PathType == nil || *path.PathType != networkingv1.PathTypePrefix:
		return []string{path.Path}
	case path.Path == "/" || path.Path == "":
		return []string{"/*"}
	default:
		prefix := path.Path
		for prefix[len(prefix)-1] == '/' {
			prefix = prefix[:len(prefix)-1]
		}
		return []string{prefix, prefix + "/*"}
	}
}
