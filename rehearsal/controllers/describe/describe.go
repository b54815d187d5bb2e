// Package describe says which load balancer Ingresses ask for, as the AWS Load Balancer Controller reads them, for the
// model of it. Of annotations it knows those that the program sets, and refuses the rest.
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

	"eco2/rehearsal/aws"
)

// ClusterTag is on all that is the cluster's, and what the rights of the nodes' role depend on.
const ClusterTag = "elbv2.k8s.aws/cluster"

// GroupTag names the group of Ingresses that it is for.
const GroupTag = "ingress.k8s.aws/stack"

// What a subnet says it is for.
const (
	publicTag   = "kubernetes.io/role/elb"
	internalTag = "kubernetes.io/role/internal-elb"
	ownerTag    = "kubernetes.io/cluster/"
	neededZones = 2
)

// Cluster is where the Ingresses are.
type Cluster struct {
	Name string
	// Subnets are those of its network.
	Subnets []aws.Subnet
	// Targets are the instances that traffic goes to.
	Targets []string
	// SSLPolicy is that of listeners with TLS.
	SSLPolicy string
	// NodePort is the port of all machines that leads to a Service's.
	NodePort func(service apitypes.NamespacedName, port intstr.IntOrString) (int, error)
}

// Balancer is the name of a group's load balancer.
func (c Cluster) Balancer(group string) string { return balancerName(c.Name, group) }

// Stack is a load balancer and its target groups, without what only AWS knows. An ARN of a target group is its name.
type Stack struct {
	aws.LoadBalancer
	TargetGroups []aws.TargetGroup
}

// LoadBalancer is the one that a group's members want.
func (c Cluster) LoadBalancer(group string, members []*networkingv1.Ingress) (Stack, error) {
	tags := map[string]string{ClusterTag: c.Name, GroupTag: group}
	b := Stack{LoadBalancer: aws.LoadBalancer{Name: balancerName(c.Name, group), Scheme: "internal", Tags: tags}}
	var certificates []string
	var subnets []string
	redirect, internetFacing := 0, false
	for i, ingress := range members {
		w, err := read(ingress)
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
			subnets = w.subnets // one member's are the group's
		}
		internetFacing, redirect = w.internetFacing, max(redirect, w.redirect)
		if len(w.securityGroups) > 0 {
			b.SecurityGroupIDs = w.securityGroups // one member's are the group's
		}
		certificates = append(certificates, w.certificates...)

		rules, groups, err := c.rules(group, ingress, w.target)
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
	err := secure(b.Listeners, slices.Compact(certificates), redirect)
	if b.SubnetIDs = subnets; err != nil || len(subnets) > 0 {
		return b, err
	}
	b.SubnetIDs, err = c.tagged(internetFacing)
	return b, err
}

// tagged are the subnets that the network's tags name for load balancers, one in each zone.
func (c Cluster) tagged(internetFacing bool) ([]string, error) {
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
		if value, tagged := subnet.Tags[tag]; !tagged || value != "" && value != "1" || c.others(subnet) || subnet.AvailabilityZone == zone {
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

// others says whether a subnet is for other clusters only.
func (c Cluster) others(subnet aws.Subnet) bool {
	foreign := false
	for tag := range subnet.Tags {
		if tag == ownerTag+c.Name {
			return false
		}
		foreign = foreign || len(tag) > len(ownerTag) && tag[:len(ownerTag)] == ownerTag
	}
	return foreign
}

// secure gives listeners with TLS their certificates, and sends HTTP to a port with TLS.
func secure(listeners []aws.Listener, certificates []string, redirect int) error {
	tls := func(l aws.Listener) bool { return l.Protocol == "HTTPS" }
	if redirect > 0 && !slices.ContainsFunc(listeners, func(l aws.Listener) bool { return tls(l) && l.Port == redirect }) {
		return fmt.Errorf("listener does not exist for SSLRedirect port: %d", redirect)
	}
	for i := range listeners {
		l := &listeners[i]
		switch {
		case tls(*l) && len(certificates) == 0:
			return fmt.Errorf("no certificate for HTTPS: the model of the controller looks for none, and annotation %scertificate-arn is missing", Annotation)
		case tls(*l):
			l.CertificateARNs = certificates
		case redirect > 0:
			l.Default, l.Rules = aws.RedirectTo(redirect), nil
		}
	}
	return nil
}

// rules are those of an Ingress, with the target groups that they lead to.
func (c Cluster) rules(group string, ingress *networkingv1.Ingress, like aws.TargetGroup) (rules []aws.ListenerRule, groups []aws.TargetGroup, err error) {
	if ingress.Spec.DefaultBackend != nil {
		return nil, nil, errors.New("the model of the controller knows no default backend")
	}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		// An exact path before its prefixes, and of these the longest first.
		paths := slices.SortedStableFunc(slices.Values(rule.HTTP.Paths), func(a, b networkingv1.HTTPIngressPath) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), -cmp.Compare(len(a.Path), len(b.Path)))
		})
		for _, path := range paths {
			backend := path.Backend.Service
			if backend == nil {
				return nil, nil, fmt.Errorf("path %q leads to no Service", path.Path)
			}
			port := intstr.FromInt32(backend.Port.Number)
			if backend.Port.Name != "" {
				port = intstr.FromString(backend.Port.Name)
			}
			target := like
			if target.Port, err = c.NodePort(apitypes.NamespacedName{Namespace: ingress.Namespace, Name: backend.Name}, port); err != nil {
				return nil, nil, err
			}
			target.Name = groupName(c.Name, group, ingress.Namespace, backend.Name, port.String())
			groups = append(groups, target)
			wanted := aws.ListenerRule{Conditions: []types.RuleCondition{aws.PathCondition(patterns(path)...)}, Actions: aws.ForwardTo(target.Name)}
			if rule.Host != "" {
				wanted.Conditions = append(wanted.Conditions, aws.HostCondition(rule.Host))
			}
			rules = append(rules, wanted)
		}
	}
	return rules, groups, nil
}

func rank(path networkingv1.HTTPIngressPath) int {
	if path.PathType != nil && *path.PathType == networkingv1.PathTypeExact {
		return 0
	}
	return 1
}

// patterns are what a load balancer compares paths with. A prefix is one of whole elements.
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
