package config

import (
	"strings"
)

// maxInboundRules is AWS's default quota of inbound rules in a security group ("Inbound or outbound rules per
// security group" in the VPC user guide).
const maxInboundRules = 60

// InboundRule lets a network in at a range of TCP ports.
type InboundRule struct {
	// What is the first part of the rule's name.
	What        string
	From, To    int
	CIDR        string
	Description string
}

// Name is what the rule lets in and from where, such as ssh-203.0.113.7-32.
func (r InboundRule) Name() string { return r.What + "-" + strings.ReplaceAll(r.CIDR, "/", "-") }

// InboundRules are the rules of the cluster's security group, without the one that lets in the group itself.
func (c Config) InboundRules() []InboundRule {
	return inboundRules(texts(c.AdminCidrs), texts(c.NodePortCidrs), c.Domain)
}

func inboundRules(admins, nodePorts []string, domain string) []InboundRule {
	var rules []InboundRule
	for _, cidr := range admins {
		rules = append(rules,
			InboundRule{"ssh", 22, 22, cidr, "SSH from an administrator"},
			InboundRule{"api", 6443, 6443, cidr, "Kubernetes API from an administrator"})
	}
	for _, cidr := range nodePorts {
		rules = append(rules, InboundRule{"nodeports", 30000, 32767, cidr, "NodePort services"})
	}
	if domain != "" {
		// For the load balancer; nothing listens there on a node.
		rules = append(rules,
			InboundRule{"http", 80, 80, everywhere.String(), "HTTP to the load balancer, which redirects to HTTPS"},
			InboundRule{"https", 443, 443, everywhere.String(), "HTTPS to the load balancer"})
	}
	return rules
}

// rules refuses more inbound rules than AWS takes, also for the while in which an update has made the new
// ones and not deleted the old.
func (l *loader) rules(c *Config) {
	const self = 1 // the rule that lets in the group itself
	wanted := c.InboundRules()
	if count := len(wanted) + self; count > maxInboundRules {
		l.problem("adminCidrs", "makes %d inbound rules together with %s, and AWS takes %d in a security group: "+
			"each network of adminCidrs takes two, each of nodePortCidrs one, a domain two, the group itself one; "+
			"merge networks that are next to each other into a larger one", count, l.key("nodePortCidrs"), maxInboundRules)
		return
	}
	was := c.Previous
	together := map[string]bool{}
	for _, rule := range append(inboundRules(was.AdminCidrs, was.NodePortCidrs, was.Domain), wanted...) {
		together[rule.Name()] = true
	}
	if count := len(together) + self; count > maxInboundRules {
		l.problem("adminCidrs", "has new networks, whose rules are made before the old ones are deleted: with those of %s "+
			"that would be %d inbound rules at once, and AWS takes %d in a security group; take the old networks out and "+
			"run pulumi up, then put the new ones in", l.key("nodePortCidrs"), count, maxInboundRules)
	}
}
