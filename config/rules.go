package config

import (
	"strings"
)

// maxInboundRules is AWS's default quota of inbound rules per security group ("Inbound or outbound rules per
// security group" in the VPC user guide).
const maxInboundRules = 60

// ArgoCDPort is the port of the load balancer at which it serves Argo CD. The security group opens it to administrators
// only.
//
// The alternative, a condition on the source address in a rule of the HTTPS listener, would allow three networks: AWS
// allows five condition values in a rule, and the host and the path are two of them.
const ArgoCDPort = 8443

// InboundRule allows a network to connect to a range of TCP ports.
type InboundRule struct {
	// Service is the first part of the rule's name, such as ssh.
	Service     string
	From, To    int
	CIDR        string
	Description string
}

// Name returns the rule's name, made of its service and its network, such as ssh-203.0.113.7-32.
func (r InboundRule) Name() string { return r.Service + "-" + strings.ReplaceAll(r.CIDR, "/", "-") }

// InboundRules returns the rules of the cluster's security group, without the one that allows traffic from the group
// itself.
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
		// These are for the load balancer; on a node nothing listens on these ports.
		for _, cidr := range admins {
			rules = append(rules, InboundRule{"argocd", ArgoCDPort, ArgoCDPort, cidr, "Argo CD from an administrator"})
		}
		rules = append(rules,
			InboundRule{"http", 80, 80, everywhere.String(), "HTTP to the load balancer, which redirects to HTTPS"},
			InboundRule{"https", 443, 443, everywhere.String(), "HTTPS to the load balancer"})
	}
	return rules
}

// checkInboundRules reports more inbound rules than AWS allows. It also counts the rules that exist during an update,
// which creates the new rules before it deletes the old ones.
func (r *report) checkInboundRules(c Config) {
	const self = 1 // the rule that allows traffic from the group itself
	current := c.InboundRules()
	if count := len(current) + self; count > maxInboundRules {
		r.problem("adminCidrs", "needs %d inbound rules together with %s, and AWS allows %d in a security group: each "+
			"network of adminCidrs needs two, or three with a domain, each of nodePortCidrs one, a domain two, the group "+
			"itself one; merge adjacent networks into larger ones", count, r.key("nodePortCidrs"), maxInboundRules)
		return
	}
	was := c.Previous
	during := map[string]bool{}
	for _, rule := range append(inboundRules(was.AdminCidrs, was.NodePortCidrs, was.Domain), current...) {
		during[rule.Name()] = true
	}
	if count := len(during) + self; count > maxInboundRules {
		r.problem("adminCidrs", "needs new rules, which are created before the old ones are deleted: "+
			"with those of %s that would be %d inbound rules at once, and AWS allows %d in a security group; "+
			"remove some networks and run pulumi up, then add the others", r.key("nodePortCidrs"), count, maxInboundRules)
	}
}
