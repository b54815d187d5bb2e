package aws

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/store"
)

// groupText validates the characters and length of the names and descriptions of groups and rules.
var groupText = []trait{matching(`^[0-9A-Za-z_ .:/()#,@\[\]+=&;{}!$*-]{0,255}$`,
	"a text of up to 255 letters, digits, spaces and ._-:/()#,@[]+=&;{}!$*")}

// inlineRule is a rule that is set in the ingress or egress input of its group.
var inlineRule = inputs{
	"protocol":       text(required, matching(protocolShape, protocolWords)),
	"fromPort":       number(required, between(-1, 65535)),
	"toPort":         number(required, between(-1, 65535)),
	"cidrBlocks":     texts(valid(isNetwork)),
	"ipv6CidrBlocks": texts(valid(isNetwork6)),
	"prefixListIds":  texts(),
	"securityGroups": texts(),
	"self":           flag(fallback(false)),
	"description":    text(groupText...),
}

var securityGroup = spec{
	title: "Security Group", service: "EC2", calls: calls{"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "DeleteSecurityGroup"},
	affects: object.id,
	inputs: inputs{
		"name":                text(append([]trait{replaces}, groupText...)...),
		"description":         text(append([]trait{replaces, fallback("Managed by Pulumi")}, groupText...)...),
		"vpcId":               text(replaces, computed),
		"ingress":             list(inlineRule, computed),
		"egress":              list(inlineRule, computed),
		"revokeRulesOnDelete": flag(fallback(false)),
		"tags":                ownTags,
	},
	outputs:  []string{"arn", "namePrefix", "ownerId"},
	autoname: "name",
	timeout:  15 * time.Minute,
	check: func(in resource.PropertyMap) []plugin.Failure {
		if name, _ := textOf(in, "name"); strings.HasPrefix(name, "sg-") {
			return []plugin.Failure{{Property: "name", Reason: fmt.Sprintf("%q begins with \"sg-\", which AWS reserves for ids", name)}}
		}
		return nil
	},
	create: func(c *call) error {
		network := c.obj.text("vpcId")
		if network == "" {
			return refuse("VPCIdNotSpecified", "No default VPC for this user")
		}
		if _, err := c.require("vpc", network); err != nil {
			return err
		}
		others, err := c.where("securityGroup", "vpcId", network)
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.text("name") == c.obj.text("name") {
				return refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", c.obj.text("name"), network)
			}
		}
		id := newID("sg")
		c.fill(object{"id": id, "arn": c.arn("ec2", "security-group/"+id), "ownerId": AccountID, "namePrefix": ""})
		// The provider removes the egress rule that AWS adds to every new group.
		c.obj.setDefault("ingress", []any{})
		c.obj.setDefault("egress", []any{})
		return c.checkInlineRules()
	},
	update: (*call).checkInlineRules,
	remove: func(c *call) error {
		var usedBy []string
		err := store.Each(c.Tx, "instance", func(_ string, o object) error {
			if slices.Contains(o.texts("vpcSecurityGroupIds"), c.obj.id()) {
				usedBy = append(usedBy, o.described("instance"))
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = store.Each(c.Tx, LoadBalancerKind, func(_ string, o object) error {
			if slices.Contains(o.texts("securityGroupIds"), c.obj.id()) {
				usedBy = append(usedBy, blocker(LoadBalancerKind, "load balancer", o))
			}
			return nil
		})
		if err != nil {
			return err
		}
		left, err := c.remainingInterfaces(func(o object) bool { return slices.Contains(o.texts("groups"), c.obj.id()) })
		if err != nil {
			return err
		}
		usedBy = append(usedBy, left...)
		for _, d := range []Direction{Ingress, Egress} {
			rules, err := c.rules(d)
			if err != nil {
				return err
			}
			for _, r := range rules {
				switch {
				case r.GroupID == c.obj.id() || r.ReferencedGroupID != c.obj.id():
				case c.obj.flag("revokeRulesOnDelete") && r.ID != "":
					if err := c.drop(d.kind(), r.ID); err != nil {
						return err
					}
				default:
					other, err := c.get("securityGroup", r.GroupID)
					if err != nil {
						return err
					}
					usedBy = append(usedBy, fmt.Sprintf("%s rule of %s", d, other.described("security group")))
				}
			}
		}
		if err := blocked(slices.Compact(usedBy), "resource %s has a dependent object", c.obj.id()); err != nil {
			return err
		}
		// A group's rules are deleted with it.
		if err := c.dropWhere(Ingress.kind(), "securityGroupId", c.obj.id()); err != nil {
			return err
		}
		return c.dropWhere(Egress.kind(), "securityGroupId", c.obj.id())
	},
}

// checkInlineRules checks that the groups that a group's inline rules reference exist.
func (c *call) checkInlineRules() error {
	for _, r := range append(inline(c.obj, Ingress), inline(c.obj, Egress)...) {
		if r.ReferencedGroupID == "" || r.ReferencedGroupID == c.obj.id() {
			continue
		}
		if _, err := c.require("securityGroup", r.ReferencedGroupID); err != nil {
			return err
		}
	}
	return nil
}

var (
	ingressRule = rule(Ingress, "VPC Security Group Ingress Rule", "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress")
	egressRule  = rule(Egress, "VPC Security Group Egress Rule", "AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress")
)

const (
	protocolShape = `^(-1|all|tcp|udp|icmp|icmpv6|[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`
	protocolWords = `a protocol: tcp, udp, icmp, icmpv6, a number from 0 to 255, or -1 for all`
)

// rule returns the entry for the rules of one direction.
func rule(d Direction, title, authorize, revoke string) spec {
	return spec{
		title: title, service: "EC2", calls: calls{authorize, "ModifySecurityGroupRules", revoke},
		affects: func(o object) string { return o.text("securityGroupId") },
		inputs: inputs{
			"securityGroupId":           text(required, replaces),
			"ipProtocol":                text(required, matching(protocolShape, protocolWords)),
			"fromPort":                  number(between(-1, 65535)),
			"toPort":                    number(between(-1, 65535)),
			"cidrIpv4":                  text(valid(isNetwork)),
			"cidrIpv6":                  text(valid(isNetwork6)),
			"prefixListId":              text(matching(`^pl-[0-9a-f]+$`, "the id of a prefix list")),
			"referencedSecurityGroupId": text(matching(`^([0-9]{12}/)?sg-[0-9a-f]+$`, "the id of a security group")),
			"description":               text(groupText...),
			"tags":                      ownTags,
		},
		outputs: []string{"arn", "securityGroupRuleId"},
		check:   checkRule,
		normalize: func(in resource.PropertyMap) {
			if p, _ := textOf(in, "ipProtocol"); p == "all" {
				in["ipProtocol"] = resource.NewStringProperty("-1")
			}
		},
		create: func(c *call) error {
			id := newID("sgr")
			c.fill(object{"id": id, "arn": c.arn("ec2", "security-group-rule/"+id), "securityGroupRuleId": id})
			return c.checkNewRule(d)
		},
		update: func(c *call) error { return c.checkNewRule(d) },
	}
}

func checkRule(in resource.PropertyMap) []plugin.Failure {
	failures := exactlyOne(in, "cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId")
	protocol, known := textOf(in, "ipProtocol")
	switch {
	case !known:
	case protocol == "-1" || protocol == "all":
		for _, port := range []string{"fromPort", "toPort"} {
			if has(in, port) {
				failures = append(failures, plugin.Failure{Property: port, Reason: "a rule for all protocols has no ports"})
			}
		}
	case protocol == "icmp" || protocol == "icmpv6" || protocol == "1" || protocol == "58":
		// The ports are ICMP type and code: -1 means any, and neither has to be less than the other.
	case protocol == "tcp" || protocol == "udp" || protocol == "6" || protocol == "17":
		for _, port := range []string{"fromPort", "toPort"} {
			if v := in[resource.PropertyKey(port)]; !has(in, port) || v.IsNumber() && v.NumberValue() < 0 {
				failures = append(failures, plugin.Failure{Property: port, Reason: "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."})
			}
		}
		from, to := in["fromPort"], in["toPort"]
		if from.IsNumber() && to.IsNumber() && from.NumberValue() > to.NumberValue() {
			failures = append(failures, plugin.Failure{Property: "fromPort",
				Reason: fmt.Sprintf("Invalid value '%v-%v' for portRange: the first port is greater than the last", from.NumberValue(), to.NumberValue())})
		}
	}
	return failures
}

// checkNewRule checks that a rule's groups exist, that its group has no equal rule, and that the quota allows another.
func (c *call) checkNewRule(d Direction) error {
	group, err := c.require("securityGroup", c.obj.text("securityGroupId"))
	if err != nil {
		return err
	}
	wanted := ruleOf(c.obj, d)
	if wanted.ReferencedGroupID != "" {
		other, err := c.require("securityGroup", wanted.ReferencedGroupID)
		if err != nil {
			return err
		}
		if other.text("vpcId") != group.text("vpcId") {
			return refuse("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
		}
	}
	rules, err := c.rules(d)
	if err != nil {
		return err
	}
	count := 0
	for _, r := range rules {
		if r.GroupID != wanted.GroupID || r.ID == wanted.ID {
			continue
		}
		count++
		if r.same(wanted) {
			return refuse("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, ALLOW\" already exists", wanted.peer(), wanted.ports())
		}
	}
	if count >= rulesPerDirection {
		return refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	return nil
}

// Direction is the direction of a rule's traffic, as seen from the instance.
type Direction string

// The directions.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

func (d Direction) kind() string {
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

// same reports whether two rules are duplicates for AWS, which ignores their descriptions.
func (r Rule) same(other Rule) bool {
	r.ID, r.Description = other.ID, other.Description
	return r == other
}

func (r Rule) peer() string {
	switch {
	case r.ReferencedGroupID != "":
		return r.ReferencedGroupID
	case r.PrefixListID != "":
		return r.PrefixListID
	}
	return r.CIDR.String()
}

func (r Rule) ports() string {
	if r.Protocol == "-1" {
		return "ALL"
	}
	return fmt.Sprintf("%s, from port: %d, to port: %d", strings.ToUpper(r.Protocol), r.FromPort, r.ToPort)
}

// rules lists all rules of all groups in one direction.
func (t tx) rules(d Direction) (rules []Rule, err error) {
	err = store.Each(t.Tx, d.kind(), func(_ string, o object) error {
		rules = append(rules, ruleOf(o, d))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = store.Each(t.Tx, "securityGroup", func(_ string, o object) error {
		rules = append(rules, inline(o, d)...)
		return nil
	})
	return rules, err
}

func ruleOf(o object, d Direction) Rule {
	r := Rule{ID: o.id(), GroupID: o.text("securityGroupId"), Direction: d, Description: o.text("description"),
		PrefixListID: o.text("prefixListId")}
	if _, referenced, other := strings.Cut(o.text("referencedSecurityGroupId"), "/"); other {
		r.ReferencedGroupID = referenced
	} else {
		r.ReferencedGroupID = o.text("referencedSecurityGroupId")
	}
	for _, key := range []string{"cidrIpv4", "cidrIpv6"} {
		if p, err := netip.ParsePrefix(o.text(key)); err == nil {
			r.CIDR = p
		}
	}
	return r.matching(o.text("ipProtocol"), o)
}

// inline converts a group's inline rules to the form in which AWS stores them: one rule for each peer.
func inline(group object, d Direction) (rules []Rule) {
	for _, o := range group.objects(string(d)) {
		r := Rule{GroupID: group.id(), Direction: d, Description: o.text("description")}.matching(o.text("protocol"), o)
		for _, cidr := range append(o.texts("cidrBlocks"), o.texts("ipv6CidrBlocks")...) {
			one := r
			one.CIDR, _ = netip.ParsePrefix(cidr) // validated with the inputs
			rules = append(rules, one)
		}
		for _, id := range o.texts("prefixListIds") {
			one := r
			one.PrefixListID = id
			rules = append(rules, one)
		}
		groups := o.texts("securityGroups")
		if o.flag("self") {
			groups = append(groups, group.id())
		}
		for _, id := range groups {
			one := r
			one.ReferencedGroupID = id
			rules = append(rules, one)
		}
	}
	return rules
}

func (r Rule) matching(protocol string, o object) Rule {
	r.Protocol, r.FromPort, r.ToPort = protocol, int(o.number("fromPort")), int(o.number("toPort"))
	if n, err := strconv.Atoi(protocol); protocol == "all" || err == nil && n < 0 {
		r.Protocol, r.FromPort, r.ToPort = "-1", 0, 65535
	}
	return r
}
