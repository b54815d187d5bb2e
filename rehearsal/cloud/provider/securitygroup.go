package provider

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
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
	affects: aws.Object.ID,
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
		network := c.obj.Text("vpcId")
		if network == "" {
			return aws.Refuse("VPCIdNotSpecified", "No default VPC for this user")
		}
		if _, err := c.Require("vpc", network); err != nil {
			return err
		}
		others, err := c.Where("securityGroup", "vpcId", network)
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.Text("name") == c.obj.Text("name") {
				return aws.Refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", c.obj.Text("name"), network)
			}
		}
		id := aws.NewID("sg")
		c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "security-group/"+id), "ownerId": aws.AccountID, "namePrefix": ""})
		// The provider removes the egress rule that AWS adds to every new group.
		c.obj.SetDefault("ingress", []any{})
		c.obj.SetDefault("egress", []any{})
		return c.checkInlineRules()
	},
	update: (*call).checkInlineRules,
	remove: func(c *call) error {
		var usedBy []string
		err := store.Each(c.Tx.Tx, "instance", func(_ string, o aws.Object) error {
			if slices.Contains(o.Texts("vpcSecurityGroupIds"), c.obj.ID()) {
				usedBy = append(usedBy, o.Described("instance"))
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = store.Each(c.Tx.Tx, aws.LoadBalancerKind, func(_ string, o aws.Object) error {
			if slices.Contains(o.Texts("securityGroupIds"), c.obj.ID()) {
				usedBy = append(usedBy, blocker(aws.LoadBalancerKind, "load balancer", o))
			}
			return nil
		})
		if err != nil {
			return err
		}
		left, err := c.RemainingInterfaces(func(o aws.Object) bool { return slices.Contains(o.Texts("groups"), c.obj.ID()) })
		if err != nil {
			return err
		}
		usedBy = append(usedBy, left...)
		for _, d := range []aws.Direction{aws.Ingress, aws.Egress} {
			rules, err := c.Rules(d)
			if err != nil {
				return err
			}
			for _, r := range rules {
				switch {
				case r.GroupID == c.obj.ID() || r.ReferencedGroupID != c.obj.ID():
				case c.obj.Flag("revokeRulesOnDelete") && r.ID != "":
					if err := c.Drop(d.Kind(), r.ID); err != nil {
						return err
					}
				default:
					other, err := c.Find("securityGroup", r.GroupID)
					if err != nil {
						return err
					}
					usedBy = append(usedBy, fmt.Sprintf("%s rule of %s", d, other.Described("security group")))
				}
			}
		}
		if err := aws.Blocked(slices.Compact(usedBy), "resource %s has a dependent object", c.obj.ID()); err != nil {
			return err
		}
		// A group's rules are deleted with it.
		if err := c.DropWhere(aws.Ingress.Kind(), "securityGroupId", c.obj.ID()); err != nil {
			return err
		}
		return c.DropWhere(aws.Egress.Kind(), "securityGroupId", c.obj.ID())
	},
}

// checkInlineRules checks that the groups that a group's inline rules reference exist.
func (c *call) checkInlineRules() error {
	for _, r := range append(aws.Inline(c.obj, aws.Ingress), aws.Inline(c.obj, aws.Egress)...) {
		if r.ReferencedGroupID == "" || r.ReferencedGroupID == c.obj.ID() {
			continue
		}
		if _, err := c.Require("securityGroup", r.ReferencedGroupID); err != nil {
			return err
		}
	}
	return nil
}

var (
	ingressRule = rule(aws.Ingress, "VPC Security Group Ingress Rule", "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress")
	egressRule  = rule(aws.Egress, "VPC Security Group Egress Rule", "AuthorizeSecurityGroupEgress", "RevokeSecurityGroupEgress")
)

const (
	protocolShape = `^(-1|all|tcp|udp|icmp|icmpv6|[0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`
	protocolWords = `a protocol: tcp, udp, icmp, icmpv6, a number from 0 to 255, or -1 for all`
)

// rule returns the entry for the rules of one direction.
func rule(d aws.Direction, title, authorize, revoke string) spec {
	return spec{
		title: title, service: "EC2", calls: calls{authorize, "ModifySecurityGroupRules", revoke},
		affects: func(o aws.Object) string { return o.Text("securityGroupId") },
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
			id := aws.NewID("sgr")
			c.fill(aws.Object{"id": id, "arn": c.ARN("ec2", "security-group-rule/"+id), "securityGroupRuleId": id})
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
func (c *call) checkNewRule(d aws.Direction) error {
	group, err := c.Require("securityGroup", c.obj.Text("securityGroupId"))
	if err != nil {
		return err
	}
	wanted := aws.RuleOf(c.obj, d)
	if wanted.ReferencedGroupID != "" {
		other, err := c.Require("securityGroup", wanted.ReferencedGroupID)
		if err != nil {
			return err
		}
		if other.Text("vpcId") != group.Text("vpcId") {
			return aws.Refuse("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
		}
	}
	rules, err := c.Rules(d)
	if err != nil {
		return err
	}
	count := 0
	for _, r := range rules {
		if r.GroupID != wanted.GroupID || r.ID == wanted.ID {
			continue
		}
		count++
		if r.Same(wanted) {
			return aws.Refuse("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, ALLOW\" already exists", wanted.Peer(), wanted.Ports())
		}
	}
	if count >= rulesPerDirection {
		return aws.Refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	return nil
}
