package docker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/metadata"
)

// firewall returns the nftables ruleset with which a machine enforces its security groups: always the same text for the
// same rules. members are the private addresses of each group's instances and load balancers, for rules that refer to
// groups. resolver is the VPC's resolver.
//
// A security group filters packets at the instance's network interface, so both chains apply to eth0 only. Ingress is
// filtered after conntrack and before kube-proxy's DNAT, so that traffic to a NodePort is matched by the NodePort.
// Egress is filtered after all NAT, so that a packet is matched as it leaves. As in AWS, groups are stateful: replies
// to allowed traffic pass, and an open connection survives the deletion of the rule that allowed it.
func firewall(rules []aws.Rule, members map[string][]netip.Addr, resolver netip.Addr) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	// Declared first, so that the delete does not fail where there is no table yet. The whole file is one transaction.
	line("table inet security-groups")
	line("delete table inet security-groups")
	line("table inet security-groups {")
	for _, id := range referenced(rules) {
		line("\tset %s {", id)
		line("\t\ttype ipv4_addr")
		if addresses := members[id]; len(addresses) > 0 {
			line("\t\telements = { %s }", joined(addresses))
		}
		line("\t}")
	}
	line("\tchain ingress {")
	line("\t\ttype filter hook prerouting priority mangle; policy accept;")
	line("\t\tiifname != \"eth0\" accept")
	line("\t\tct state established,related accept")
	for _, match := range matches(rules, aws.Ingress) {
		line("\t\t%s accept", match)
	}
	line("\t\tcounter drop")
	line("\t}")
	line("\tchain egress {")
	line("\t\ttype filter hook postrouting priority srcnat + 10; policy accept;")
	line("\t\toifname != \"eth0\" accept")
	line("\t\tct state established,related accept")
	// Groups do not apply to the metadata service and the VPC's resolver.
	line("\t\tip daddr %s accept", metadata.Address)
	line("\t\tip daddr %s meta l4proto { tcp, udp } th dport 53 accept", resolver)
	for _, match := range matches(rules, aws.Egress) {
		line("\t\t%s accept", match)
	}
	line("\t\tcounter drop")
	line("\t}")
	line("}")
	return text.String()
}

// UpdateFirewalls writes the rulesets that result from the current account for the machines of a state directory. The
// machines load them by themselves, a moment later. It needs no Docker. It is for changes that are not made through the
// program, so that no Driver runs: a controller creates or deletes a load balancer.
func UpdateFirewalls(ctx context.Context, stateDir string) error {
	unlock, err := lock(ctx, stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	w, err := read(aws.Open(stateDir))
	if err != nil {
		return err
	}
	for _, m := range w.machines {
		f := filesOf(stateDir, m.ID)
		if _, err := os.Stat(f.path(firewallFile)); err != nil || f.holds(firewallFile, m.firewall) {
			continue // unchanged, or not created yet: then a Driver writes its first ruleset
		}
		if err := f.write(firewallFile, m.firewall); err != nil {
			return fmt.Errorf("changing the firewall of machine %s (%s): %w", m.title(), m.ID, err)
		}
	}
	return nil
}

// referenced returns the ids of the security groups that rules refer to, sorted.
func referenced(rules []aws.Rule) (ids []string) {
	for _, r := range rules {
		if r.ReferencedGroupID != "" {
			ids = append(ids, r.ReferencedGroupID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func joined(addresses []netip.Addr) string {
	addresses = slices.SortedFunc(slices.Values(addresses), netip.Addr.Compare)
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// matches returns the nftables expressions for what the rules of one direction allow, sorted.
func matches(rules []aws.Rule, d aws.Direction) (texts []string) {
	side := map[aws.Direction]string{aws.Ingress: "saddr", aws.Egress: "daddr"}[d]
	for _, r := range rules {
		peer := ""
		switch {
		case r.Direction != d:
			continue
		case r.ReferencedGroupID != "":
			peer = fmt.Sprintf("ip %s @%s", side, r.ReferencedGroupID)
		case r.CIDR.IsValid() && r.CIDR.Addr().Is4():
			peer = fmt.Sprintf("ip %s %s", side, r.CIDR.Masked())
		case r.CIDR.IsValid():
			peer = fmt.Sprintf("ip6 %s %s", side, r.CIDR.Masked())
		default:
			continue // a prefix list: the account has none, so such a rule allows nothing
		}
		texts = append(texts, strings.TrimSpace(peer+" "+service(r)))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// service returns the nftables expression for the protocol and ports that a rule allows; empty means all traffic.
func service(r aws.Rule) string {
	switch r.Protocol {
	case "-1":
		return ""
	case "tcp", "6":
		return "tcp dport " + ports(r)
	case "udp", "17":
		return "udp dport " + ports(r)
	case "icmp", "1":
		return icmp("icmp", "icmp", r)
	case "icmpv6", "58":
		return icmp("icmpv6", "ipv6-icmp", r)
	}
	return "meta l4proto " + r.Protocol
}

func ports(r aws.Rule) string {
	if r.FromPort == r.ToPort {
		return strconv.Itoa(r.FromPort)
	}
	return fmt.Sprintf("%d-%d", r.FromPort, r.ToPort)
}

// icmp returns the expression for an ICMP rule, in which FromPort is the type and ToPort the code; -1 means any.
func icmp(name, protocol string, r aws.Rule) string {
	if r.FromPort < 0 {
		return "meta l4proto " + protocol
	}
	match := fmt.Sprintf("%s type %d", name, r.FromPort)
	if r.ToPort >= 0 {
		match += fmt.Sprintf(" %s code %d", name, r.ToPort)
	}
	return match
}
