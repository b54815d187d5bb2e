package config

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// addresses returns a list of count networks with one address each.
func addresses(count int) []any {
	var list []any
	for i := range count {
		list = append(list, fmt.Sprintf("203.0.113.%d/32", i))
	}
	return list
}

// Validation counts the rules of InboundRules and the one for the group itself.
func TestInboundRulesAreCounted(t *testing.T) {
	for _, test := range []struct {
		admins, nodePorts int
		domain            bool
		rules             int
		refused           bool
	}{
		{1, 0, true, 6, false},
		{19, 0, true, 60, false},
		{20, 0, true, 63, true},
		{29, 0, false, 59, false},
		{30, 0, false, 61, true},
		{1, 53, true, 59, false},
		{1, 54, true, 60, false},
		{1, 55, true, 61, true},
		{1, 57, false, 60, false},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			s := newStack(t, values{"adminCidrs": addresses(test.admins), "nodePortCidrs": addresses(test.nodePorts)})
			if !test.domain {
				s.settings["domain"], s.settings["hostedZoneId"] = "", ""
			}
			c, err := s.load()
			if test.refused {
				require.ErrorContains(t, err, fmt.Sprintf("eco2:adminCidrs: needs %d inbound rules", test.rules))
				return
			}
			require.NoError(t, err)
			const self = 1 // the rule for traffic from the group itself
			assert.Len(t, c.InboundRules(), test.rules-self)
		})
	}
}

// New rules are created before the old ones are deleted, so near the limit replacing an address takes two updates.
func TestExchangingAnAddressAtTheLimit(t *testing.T) {
	full := addresses(19)
	exchanged := append(addresses(18), "198.51.100.9/32")
	for _, test := range []struct {
		name    string
		was, is []any
		problem string
	}{
		{"nothing changes", full, full, ""},
		{"an address is removed", full, addresses(18), ""},
		{"and another is added", addresses(18), exchanged, ""},
		{"both at once", full, exchanged, "needs new rules, which are created before the old ones are deleted: " +
			"with those of eco2:nodePortCidrs that would be 63 inbound rules at once, and AWS allows 60 in a security group; " +
			"remove some networks and run pulumi up, then add the others"},
		{"all of a short list at once", addresses(9), []any{"198.51.100.9/32"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStack(t, values{"adminCidrs": test.is})
			s.previous = previousOutput(values{"adminCidrs": test.was})
			if test.problem != "" {
				s.requireProblems(t, "eco2:adminCidrs: "+test.problem)
				return
			}
			s.mustLoad(t)
		})
	}
}

// With a domain administrators reach Argo CD, and nobody reaches a NodePort unless a network is set.
func TestWhoReachesWhichPort(t *testing.T) {
	admin, guest := "203.0.113.7/32", "192.0.2.0/24"
	for _, test := range []struct {
		domain    string
		nodePorts []string
		want      []string
	}{
		{"dev.growbin.app", nil, []string{"ssh-203.0.113.7-32", "api-203.0.113.7-32", "argocd-203.0.113.7-32", "http-0.0.0.0-0", "https-0.0.0.0-0"}},
		{"", nil, []string{"ssh-203.0.113.7-32", "api-203.0.113.7-32"}},
		{"", []string{guest}, []string{"ssh-203.0.113.7-32", "api-203.0.113.7-32", "nodeports-192.0.2.0-24"}},
	} {
		var names []string
		for _, rule := range inboundRules([]string{admin}, test.nodePorts, test.domain) {
			names = append(names, rule.Name())
		}
		assert.Equal(t, test.want, names)
	}
}
