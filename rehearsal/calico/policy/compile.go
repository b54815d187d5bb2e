package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Cluster is what rules follow from: all of its Namespaces, NetworkPolicies, and Pods that run.
type Cluster struct {
	Namespaces []*corev1.Namespace
	Pods       []*corev1.Pod
	Policies   []*networkingv1.NetworkPolicy
}

// Compile makes the rules of the node whose pods have addresses of the network: the same for the same
// objects, in any order. A rule that cannot be understood opens nothing, and is an error beside the rules.
func (c Cluster) Compile(network netip.Prefix) (Ruleset, error) {
	compiler := compiler{namespaces: map[string]labels.Set{}}
	for _, n := range c.Namespaces {
		compiler.namespaces[n.Name] = n.Labels
	}
	for _, p := range c.Pods {
		if address, err := netip.ParseAddr(p.Status.PodIP); err == nil && address.Is4() && !p.Spec.HostNetwork {
			compiler.pods = append(compiler.pods, pod{p, address})
		}
	}
	slices.SortFunc(compiler.pods, func(a, b pod) int {
		return cmp.Or(a.address.Compare(b.address), strings.Compare(nameOf(a), nameOf(b)))
	})
	policies := slices.SortedFunc(slices.Values(c.Policies), func(a, b *networkingv1.NetworkPolicy) int {
		return strings.Compare(nameOf(a), nameOf(b))
	})
	rules := Ruleset{
		Pods:    network,
		Ingress: compiler.guards(network, policies, networkingv1.PolicyTypeIngress),
		Egress:  compiler.guards(network, policies, networkingv1.PolicyTypeEgress),
	}
	return rules, errors.Join(compiler.problems...)
}

// compiler has the cluster as selectors look at it.
type compiler struct {
	namespaces map[string]labels.Set
	pods       []pod
	problems   []error
}

// pod is one with an address of its own.
type pod struct {
	*corev1.Pod
	address netip.Addr
}

func nameOf(object metav1.Object) string { return object.GetNamespace() + "/" + object.GetName() }

// guards are those of the node's pods, one for all that have the same policies.
func (c *compiler) guards(network netip.Prefix, all []*networkingv1.NetworkPolicy, direction networkingv1.PolicyType) []Guard {
	type group struct {
		policies []*networkingv1.NetworkPolicy
		pods     []pod
	}
	var groups []*group
	for _, p := range c.pods {
		if !network.Contains(p.address) {
			continue
		}
		var policies []*networkingv1.NetworkPolicy
		for _, policy := range all {
			if policy.Namespace == p.Namespace && governs(policy, direction) && c.selects(policy, &policy.Spec.PodSelector, p.Labels) {
				policies = append(policies, policy)
			}
		}
		i := slices.IndexFunc(groups, func(g *group) bool { return slices.Equal(g.policies, policies) })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{policies: policies})
		}
		groups[i].pods = append(groups[i].pods, p)
	}
	var guards []Guard
	for _, g := range groups {
		guard := Guard{Pods: addresses(g.pods), Isolated: len(g.policies) > 0}
		for _, policy := range g.policies {
			guard.Open = append(guard.Open, c.openings(policy, direction, g.pods)...)
		}
		guards = append(guards, guard)
	}
	return guards
}

// governs says whether a policy closes the direction. The API server writes down what is left out, by the
// same rule.
func governs(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

// openings are what a policy opens for the pods in one direction.
func (c *compiler) openings(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType, pods []pod) (open []Opening) {
	add := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, spokenTo []pod) {
		for _, peer := range c.peers(policy, peers) {
			for _, port := range c.ports(policy, ports, spokenTo) {
				open = append(open, Opening{nameOf(policy), peer, port})
			}
		}
	}
	if direction == networkingv1.PolicyTypeIngress {
		for _, rule := range policy.Spec.Ingress {
			add(rule.From, rule.Ports, pods)
		}
		return open
	}
	for _, rule := range policy.Spec.Egress {
		add(rule.To, rule.Ports, c.pods)
	}
	return open
}

// peers are those of a rule that exist.
func (c *compiler) peers(policy *networkingv1.NetworkPolicy, wanted []networkingv1.NetworkPolicyPeer) (peers []Peer) {
	if len(wanted) == 0 {
		return []Peer{{}}
	}
	for _, w := range wanted {
		if w.IPBlock != nil {
			if peer, ok := c.block(policy, *w.IPBlock); ok {
				peers = append(peers, peer)
			}
			continue
		}
		var selected []pod
		for _, p := range c.pods {
			near := w.NamespaceSelector == nil && p.Namespace == policy.Namespace
			if (near || c.selects(policy, w.NamespaceSelector, c.namespaces[p.Namespace])) &&
				(w.PodSelector == nil || c.selects(policy, w.PodSelector, p.Labels)) {
				selected = append(selected, p)
			}
		}
		if len(selected) > 0 {
			peers = append(peers, Peer{Pods: addresses(selected)})
		}
	}
	return peers
}

// block is that of a rule, where it is of IPv4.
func (c *compiler) block(policy *networkingv1.NetworkPolicy, wanted networkingv1.IPBlock) (Peer, bool) {
	var peer Peer
	for i, text := range append([]string{wanted.CIDR}, wanted.Except...) {
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			c.refuse(policy, err)
			return Peer{}, false
		case i == 0:
			peer.Block = prefix.Masked()
		default:
			peer.Except = append(peer.Except, prefix.Masked())
		}
	}
	return peer, peer.Block.Addr().Is4()
}

// protocols are their numbers in IP.
var protocols = map[corev1.Protocol]uint8{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

// ports are those of a rule; a name is what the pods that are spoken to have of it.
func (c *compiler) ports(policy *networkingv1.NetworkPolicy, wanted []networkingv1.NetworkPolicyPort, spokenTo []pod) (ports []Port) {
	if len(wanted) == 0 {
		return []Port{{}}
	}
	for _, w := range wanted {
		name := corev1.ProtocolTCP
		if w.Protocol != nil {
			name = *w.Protocol
		}
		protocol, known := protocols[name]
		if !known {
			c.refuse(policy, fmt.Errorf("unknown protocol %q", name))
			continue
		}
		port := Port{Protocol: protocol}
		switch {
		case w.Port == nil:
		case w.Port.Type == intstr.String:
			if port.Named = named(spokenTo, name, w.Port.StrVal); len(port.Named) == 0 {
				continue
			}
		default:
			port.First = uint16(w.Port.IntVal)
			port.Last = port.First
			if w.EndPort != nil {
				port.Last = uint16(*w.EndPort)
			}
		}
		ports = append(ports, port)
	}
	return ports
}

// named are the ports of pods that have a name.
func named(pods []pod, protocol corev1.Protocol, name string) (found []netip.AddrPort) {
	for _, p := range pods {
		for _, container := range p.Spec.Containers {
			for _, port := range container.Ports {
				if port.Name == name && cmp.Or(port.Protocol, corev1.ProtocolTCP) == protocol {
					found = append(found, netip.AddrPortFrom(p.address, uint16(port.ContainerPort)))
				}
			}
		}
	}
	return found
}

// selects asks a selector of a policy. None selects nothing; an empty one selects everything.
func (c *compiler) selects(policy *networkingv1.NetworkPolicy, selector *metav1.LabelSelector, of labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		c.refuse(policy, err)
		return false
	}
	return s.Matches(of)
}

// refuse notes what of a policy is not understood, once.
func (c *compiler) refuse(policy *networkingv1.NetworkPolicy, err error) {
	problem := fmt.Errorf("NetworkPolicy %s: %w", nameOf(policy), err)
	if !slices.ContainsFunc(c.problems, func(p error) bool { return p.Error() == problem.Error() }) {
		c.problems = append(c.problems, problem)
	}
}

// addresses of pods, each once: one that has ended may have had that of its successor.
func addresses(pods []pod) []netip.Addr {
	var all []netip.Addr
	for _, p := range pods {
		all = append(all, p.address)
	}
	return slices.Compact(all)
}
