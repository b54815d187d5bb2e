package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/incluster/loadbalancer/names"
)

// clusterTag is on all that is the cluster's, and what the rights of the nodes' role depend on.
const (
	clusterTag = "elbv2.k8s.aws/cluster"
	groupTag   = "ingress.k8s.aws/stack"
)

// describe says which load balancer a group's members want.
func (c *controller) describe(ctx context.Context, g group, members []*networkingv1.Ingress) (elb.LoadBalancer, error) {
	b := elb.LoadBalancer{
		Name: names.LoadBalancer(c.Cluster, g.String()),
		Tags: map[string]string{clusterTag: c.Cluster, groupTag: g.String()},
	}
	targets, err := c.targets(ctx)
	if err != nil {
		return b, err
	}
	redirect, internetFacing := 0, false
	for i, ingress := range members {
		w, err := read(ingress)
		if err != nil {
			return b, err
		}
		conflict := func(what string, is, wanted any) error {
			return fmt.Errorf("ingress %s/%s: conflicting %s in group %s: %v and %v", ingress.Namespace, ingress.Name, what, g, is, wanted)
		}
		switch {
		case i > 0 && internetFacing != w.internetFacing:
			return b, conflict("scheme", "internet-facing", "internal")
		case redirect > 0 && w.redirect > 0 && redirect != w.redirect:
			return b, conflict("ssl-redirect", redirect, w.redirect)
		case len(b.SecurityGroupIDs) > 0 && len(w.securityGroups) > 0 && !slices.Equal(b.SecurityGroupIDs, w.securityGroups):
			return b, conflict("securityGroups", b.SecurityGroupIDs, w.securityGroups)
		case len(b.SubnetIDs) > 0 && len(w.subnets) > 0 && !slices.Equal(slices.Sorted(slices.Values(b.SubnetIDs)), slices.Sorted(slices.Values(w.subnets))):
			return b, conflict("subnets", b.SubnetIDs, w.subnets) // in whatever order
		}
		internetFacing, redirect = w.internetFacing, max(redirect, w.redirect)
		if len(w.securityGroups) > 0 {
			b.SecurityGroupIDs = w.securityGroups // one member's are the group's
		}
		if len(b.SubnetIDs) == 0 {
			b.SubnetIDs = w.subnets // these too
		}
		b.CertificateARNs = append(b.CertificateARNs, w.certificates...)

		rules, groups, err := c.rules(ctx, g, ingress, w.target)
		if err != nil {
			return b, fmt.Errorf("ingress %s/%s: %w", ingress.Namespace, ingress.Name, err)
		}
		for _, added := range groups {
			added.InstanceIDs = targets
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
	if len(b.SubnetIDs) == 0 {
		b.SubnetIDs, err = c.subnets(ctx, internetFacing)
	}
	return b, err
}

// secure sends HTTP to a port with TLS, which needs a certificate.
func secure(b *elb.LoadBalancer, redirect int) error {
	tls := func(l elb.Listener) bool { return l.Protocol == "HTTPS" }
	if slices.ContainsFunc(b.Listeners, tls) && len(b.CertificateARNs) == 0 {
		return fmt.Errorf("no certificate for HTTPS: the rehearsal's controller looks for none, and annotation %scertificate-arn is missing", annotation)
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
func (c *controller) rules(ctx context.Context, g group, ingress *networkingv1.Ingress, like elb.TargetGroup) (rules []elb.Rule, groups []elb.TargetGroup, err error) {
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
			if target.NodePort, err = c.nodePort(ctx, client.ObjectKey{Namespace: ingress.Namespace, Name: backend.Name}, port); err != nil {
				return nil, nil, err
			}
			target.Name = names.TargetGroup(c.Cluster, g.String(), ingress.Namespace, backend.Name, port.String())
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

// nodePort is the port of all machines that leads to a Service's.
func (c *controller) nodePort(ctx context.Context, name client.ObjectKey, port intstr.IntOrString) (int, error) {
	var service corev1.Service
	if err := c.cluster.Get(ctx, name, &service); err != nil {
		return 0, err
	}
	for _, p := range service.Spec.Ports {
		if port.Type == intstr.Int && port.IntVal != p.Port || port.Type == intstr.String && port.StrVal != p.Name {
			continue
		}
		if p.NodePort == 0 {
			return 0, fmt.Errorf("TargetGroup port is empty: Service %s is of type %s, and targets that are instances need NodePort", name, service.Spec.Type)
		}
		return int(p.NodePort), nil
	}
	return 0, fmt.Errorf("unable to find port %s on service %s", port.String(), name)
}
