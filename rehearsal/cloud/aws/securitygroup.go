package aws

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Direction is the direction of a rule's traffic, as seen from the instance.
type Direction string

// The directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Kind returns the kind of the rules in this direction.
func (d Direction) Kind() string {
	if d == Ingress {
		return "securityGroupIngressRule"
	}
	return "securityGroupEgressRule"
}

// Rule allows traffic to or from one peer. Exactly one of CIDR, ReferencedGroupID and PrefixListID is set.
type Rule struct {
	// ID is empty for an inline rule.
	ID        string
	GroupID   string
	Direction Direction
	// Protocol is "tcp", "udp", "icmp", "icmpv6", a number, or "-1" for all.
	Protocol string
	// FromPort and ToPort are the first and last port; for ICMP, type and code; for all protocols, 0 and 65535.
	FromPort, ToPort  int
	Description       string
	CIDR              netip.Prefix
	ReferencedGroupID string
	PrefixListID      string
}

// Allows reports whether a rule with a CIDR allows TCP traffic on a port with a peer. It is false for a rule that
// references a group: use Account.AllowsInbound, as that depends on which instance has the address.
func (r Rule) Allows(port int, peer netip.Addr) bool {
	return r.allowsTCP(port) && r.CIDR.IsValid() && r.CIDR.Contains(peer.Unmap())
}

func (r Rule) allowsTCP(port int) bool {
	return r.Protocol == "-1" || (r.Protocol == "tcp" || r.Protocol == "6") && r.FromPort <= port && port <= r.ToPort
}

// Same reports whether two rules are duplicates for AWS, which ignores their descriptions.
func (r Rule) Same(other Rule) bool {
	r.ID, r.Description = other.ID, other.Description
	return r == other
}

// Peer returns the group, prefix list or CIDR as text.
func (r Rule) Peer() string {
	switch {
	case r.ReferencedGroupID != "":
		return r.ReferencedGroupID
	case r.PrefixListID != "":
		return r.PrefixListID
	}
	return r.CIDR.String()
}

// Ports returns protocol and ports as AWS's errors name them.
func (r Rule) Ports() string {
	if r.Protocol == "-1" {
		return "ALL"
	}
	return fmt.Sprintf("%s, from port: %d, to port: %d", strings.ToUpper(r.Protocol), r.FromPort, r.ToPort)
}

// Rules lists all rules of all groups in one direction.
func (t Tx) Rules(d Direction) (rules []Rule, err error) {
	err = store.Each(t.Tx, d.Kind(), func(_ string, o Object) error {
		rules = append(rules, RuleOf(o, d))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = store.Each(t.Tx, "securityGroup", func(_ string, o Object) error {
		rules = append(rules, Inline(o, d)...)
		return nil
	})
	return rules, err
}

// RuleOf converts a rule that is a resource of its own.
func RuleOf(o Object, d Direction) Rule {
	r := Rule{ID: o.ID(), GroupID: o.Text("securityGroupId"), Direction: d, Description: o.Text("description"),
		PrefixListID: o.Text("prefixListId")}
	if _, referenced, other := strings.Cut(o.Text("referencedSecurityGroupId"), "/"); other {
		r.ReferencedGroupID = referenced
	} else {
		r.ReferencedGroupID = o.Text("referencedSecurityGroupId")
	}
	for _, key := range []string{"cidrIpv4", "cidrIpv6"} {
		if p, err := netip.ParsePrefix(o.Text(key)); err == nil {
			r.CIDR = p
		}
	}
	return r.matching(o.Text("ipProtocol"), o)
}

// Inline converts a group's inline rules to the form in which AWS stores them: one rule for each peer.
func Inline(group Object, d Direction) (rules []Rule) {
	for _, o := range group.Objects(string(d)) {
		r := Rule{GroupID: group.ID(), Direction: d, Description: o.Text("description")}.matching(o.Text("protocol"), o)
		for _, cidr := range append(o.Texts("cidrBlocks"), o.Texts("ipv6CidrBlocks")...) {
			one := r
			one.CIDR, _ = netip.ParsePrefix(cidr) // validated with the inputs
			rules = append(rules, one)
		}
		for _, id := range o.Texts("prefixListIds") {
			one := r
			one.PrefixListID = id
			rules = append(rules, one)
		}
		groups := o.Texts("securityGroups")
		if o.Flag("self") {
			groups = append(groups, group.ID())
		}
		for _, id := range groups {
			one := r
			one.ReferencedGroupID = id
			rules = append(rules, one)
		}
	}
	return rules
}

func (r Rule) matching(protocol string, o Object) Rule {
	r.Protocol, r.FromPort, r.ToPort = protocol, int(o.Number("fromPort")), int(o.Number("toPort"))
	if n, err := strconv.Atoi(protocol); protocol == "all" || err == nil && n < 0 {
		r.Protocol, r.FromPort, r.ToPort = "-1", 0, 65535
	}
	return r
}
