// Package describe says which load balancer Ingresses ask for, as the AWS Load Balancer Controller reads them. The
// controller of real clusters and the model of it share it, so that both make the same of the same Ingress, and refuse
// the same.
package describe

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"eco2/rehearsal/awsapi/ec2"
	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/incluster/loadbalancer/names"
)

// ClusterTag is on all that is the cluster's, and what the rights of the nodes' role depend on.
const ClusterTag = "elbv2.k8s.aws/cluster"

const groupTag = "ingress.k8s.aws/stack"

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
	Subnets []ec2.Subnet
	// Targets are the instances that traffic goes to.
	Targets []string
	// SSLPolicy is that of listeners with TLS.
	SSLPolicy string
	// NodePort is the port of all machines that leads to a Service's.
	NodePort func(service types.NamespacedName, port intstr.IntOrString) (int, error)
}

// LoadBalancer is the one that a group's members want.
func (c Cluster) LoadBalancer(group string, members []*networkingv1.Ingress) (elb.LoadBalancer, error) {
	b := elb.LoadBalancer{
		Name: names.LoadBalancer(c.Name, group),
		Tags: map[string]string{ClusterTag: c.Name, groupTag: group},
	}
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
		b.CertificateARNs = append(b.CertificateARNs, w.certificates...)

		rules, groups, err := c.rules(group, ingress, w.target)
		if err != nil {
			return b, fmt.Errorf("ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
		}
		for _, added := range groups {
			added.InstanceIDs = c.Targets
			at := slices.IndexFunc(b.TargetGroups, func(is elb.TargetGroup) bool { return is.Name == added.Name })
			if at < 0 {
				b.TargetGroups = append(b.TargetGroups, added)
			} else if !reflect.DeepEqual(b.TargetGroups[at], added) {
				return b, conflict("health checks of a Service", b.TargetGroups[at], added)
			}
		}
		for _, added := range w.listeners {
			at := slices.IndexFunc(b.Listeners, func(is elb.Listener) bool { return is.Port == added.Port })
			if at < 0 {
				if added.Protocol == "HTTPS" {
					added.SSLPolicy = c.SSLPolicy
				}
				at, b.Listeners = len(b.Listeners), append(b.Listeners, added)
			}
			if b.Listeners[at].Protocol != added.Protocol {
				return b, conflict("protocol of port", b.Listeners[at].Protocol, added.Protocol)
			}
			b.Listeners[at].Rules = append(b.Listeners[at].Rules, rules...)
		}
	}
	slices.Sort(b.CertificateARNs)
	b.CertificateARNs = slices.Compact(b.CertificateARNs)
	slices.SortFunc(b.Listeners, func(x, y elb.Listener) int { return cmp.Compare(x.Port, y.Port) })
	slices.SortFunc(b.TargetGroups, func(x, y elb.TargetGroup) int { return cmp.Compare(x.Name, y.Name) })
	if err := secure(&b, redirect); err != nil {
		return b, err
	}
	if b.SubnetIDs = subnets; len(subnets) > 0 {
		return b, nil
	}
	var err error
	b.SubnetIDs, err = c.tagged(internetFacing)
	return b, err
}

// tagged are the subnets that the network's tags name for load balancers, one in each zone.
func (c Cluster) tagged(internetFacing bool) ([]string, error) {
	tag := internalTag
	if internetFacing {
		tag = publicTag
	}
	subnets := slices.SortedFunc(slices.Values(c.Subnets), func(a, b ec2.Subnet) int {
		return cmp.Or(cmp.Compare(a.AvailabilityZone, b.AvailabilityZone), cmp.Compare(a.SubnetID, b.SubnetID))
	})
	var ids []string
	zone := ""
	for _, subnet := range subnets {
		if value, tagged := subnet.Tags[tag]; !tagged || value != "" && value != "1" || c.others(subnet) || subnet.AvailabilityZone == zone {
			continue
		}
		ids, zone = append(ids, subnet.SubnetID), subnet.AvailabilityZone
	}
	if len(ids) < neededZones {
		return nil, fmt.Errorf("couldn't auto-discover subnets: %d zone(s) have one with the tag %s, and a load balancer needs %d",
			len(ids), tag, neededZones)
	}
	return ids, nil
}

// others says whether a subnet is for other clusters only.
func (c Cluster) others(subnet ec2.Subnet) bool {
	foreign := false
	for tag := range subnet.Tags {
		if tag == ownerTag+c.Name {
			return false
		}
		foreign = foreign || len(tag) > len(ownerTag) && tag[:len(ownerTag)] == ownerTag
	}
	return foreign
}

// Same compares what a controller decides of a load balancer.
func Same(is, wanted elb.LoadBalancer) bool {
	is.ARN, is.DNSName, is.VPCID, is.State = "", "", "", ""
	a, errA := json.Marshal(is)
	b, errB := json.Marshal(wanted)
	return errA == nil && errB == nil && string(a) == string(b)
}

// secure sends HTTP to a port with TLS, which needs a certificate.
func secure(b *elb.LoadBalancer, redirect int) error {
	tls := func(l elb.Listener) bool { return l.Protocol == "HTTPS" }
	if slices.ContainsFunc(b.Listeners, tls) && len(b.CertificateARNs) == 0 {
		return fmt.Errorf("no certificate for HTTPS: the rehearsal's controller looks for none, and annotation %scertificate-arn is missing", Annotation)
	}
	if redirect == 0 {
		return nil
	}
	if !slices.ContainsFunc(b.Listeners, func(l elb.Listener) bool { return tls(l) && l.Port == redirect }) {
		return fmt.Errorf("listener does not exist for SSLRedirect port: %d", redirect)
	}
	for i := range b.Listeners {
		if !tls(b.Listeners[i]) {
			b.Listeners[i].RedirectPort, b.Listeners[i].Rules = redirect, nil
		}
	}
	return nil
}

// rules are those of an Ingress, with the target groups that they lead to.
func (c Cluster) rules(group string, ingress *networkingv1.Ingress, like elb.TargetGroup) (rules []elb.Rule, groups []elb.TargetGroup, err error) {
	if ingress.Spec.DefaultBackend != nil {
		return nil, nil, errors.New("the rehearsal's controller knows no default backend")
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
			if target.NodePort, err = c.NodePort(types.NamespacedName{Namespace: ingress.Namespace, Name: backend.Name}, port); err != nil {
				return nil, nil, err
			}
			target.Name = names.TargetGroup(c.Name, group, ingress.Namespace, backend.Name, port.String())
			groups = append(groups, target)
			for _, match := range patterns(path) {
				rules = append(rules, elb.Rule{Host: rule.Host, Path: match, TargetGroup: target.Name})
			}
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
