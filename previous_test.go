package main

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// previousOutput returns the output "made" of an update of dev with the tests' settings and these changes.
func previousOutput(change map[string]any) map[string]any {
	output := map[string]any{
		"name": "eco2-dev", "region": "ap-northeast-2", "vpcCidr": "10.0.0.0/16", "podCidr": "192.168.0.0/16",
		"serviceCidr": "10.96.0.0/12", "zones": map[string]any{}, "adminCidrs": []any{"198.51.100.7/32"},
		"nodePortCidrs": []any{"198.51.100.7/32"}, "domain": "dev.growbin.app", "platform": true,
	}
	maps.Copy(output, change)
	return output
}

// Changes that an existing cluster does not survive are refused before any resource is registered. Nothing is refused
// if the previous settings are unknown.
func TestAClusterKeepsItsRegionNetworksAndName(t *testing.T) {
	const instructions = `to replace the cluster on purpose, see "Another region, network or name" in docs/operations.md`
	refused := func(key, was, is string) string {
		return fmt.Sprintf("eco2:%s: the cluster was created with %s, and %s would replace all of it; restore it with: "+
			"pulumi config set eco2:%s %s; %s", key, was, is, key, was, instructions)
	}
	for _, test := range []struct {
		name     string
		previous map[string]any
		want     string
	}{
		{"a new stack", nil, ""},
		{"unchanged", previousOutput(nil), ""},
		{"an output without some fields", map[string]any{"name": "eco2-dev"}, ""},
		{"region", previousOutput(map[string]any{"region": "eu-central-1"}), refused("region", "eu-central-1", "ap-northeast-2")},
		{"VPC", previousOutput(map[string]any{"vpcCidr": "10.9.0.0/16"}), refused("vpcCidr", "10.9.0.0/16", "10.0.0.0/16")},
		{"pods", previousOutput(map[string]any{"podCidr": "172.16.0.0/16"}), refused("podCidr", "172.16.0.0/16", "192.168.0.0/16")},
		{"services", previousOutput(map[string]any{"serviceCidr": "10.112.0.0/12"}), refused("serviceCidr", "10.112.0.0/12", "10.96.0.0/12")},
		{"a renamed stack", previousOutput(map[string]any{"name": "eco2-test"}),
			`stack name: the cluster was created as "eco2-test" and would be replaced by "eco2-dev"; restore the old name with ` +
				"pulumi stack rename, or create a separate new stack; " + instructions},
		{"a renamed project", previousOutput(map[string]any{"name": "eco-dev"}),
			`stack name: the cluster was created as "eco-dev" and would be replaced by "eco2-dev"; restore the old name with ` +
				"pulumi stack rename, or create a separate new stack; " + instructions},
		{"the control plane's zone", previousOutput(map[string]any{"zones": map[string]any{"k8s-master": "ap-northeast-2d"}}),
			"eco2:zones: does not contain ap-northeast-2d, the zone of k8s-master, whose replacement would be an empty cluster; add it again; " + instructions},
		{"a worker's zone", previousOutput(map[string]any{"zones": map[string]any{"k8s-redis": "ap-northeast-2d"}}), ""},
		{"what may change", previousOutput(map[string]any{"domain": "", "platform": false, "adminCidrs": []any{"203.0.113.1/32"}}), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			g, err := runAs(program, "dev", settings(t, "dev"), test.previous)
			if test.want == "" {
				require.NoError(t, err)
				assert.Len(t, g.ofType(instanceType), 14)
				return
			}
			var wrong *config.Error
			require.ErrorAs(t, err, &wrong)
			assert.Equal(t, "the configuration of stack dev has 1 problem(s):\n  "+test.want, wrong.Error())
			for _, r := range g.resources {
				assert.Equal(t, "pulumi:pulumi:Stack", r.Type, "%s was declared although the configuration is invalid", r.URN)
			}
		})
	}
}

// A missing network is reported once, and not also as a change.
func TestAMissingNetworkIsOneProblem(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:vpcCidr"] = ""
	_, err := runAs(program, "dev", values, previousOutput(nil))
	var wrong *config.Error
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, []config.Problem{{Key: "eco2:vpcCidr", Text: "is missing; set an IPv4 network such as 10.0.0.0/16"}}, wrong.Problems)
}

// If zones are added, machines stay in their zone and subnets keep their networks.
func TestMachinesStayInTheirZone(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:zones"] = []string{"ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c", "ap-northeast-2d"}
	values["eco2:nodes"] = map[string]any{"k8s-redis": map[string]any{"count": 3}}
	subnetOf := func(g *graph, name string) string {
		return g.named(t, instanceType, name).Inputs["subnetId"].StringValue()
	}
	g, err := runAs(program, "dev", values, previousOutput(map[string]any{"zones": map[string]any{
		"k8s-api-scan": "ap-northeast-2a", "k8s-redis-3": "ap-northeast-2a", "k8s-api-info": "ap-northeast-2f",
	}}))
	require.NoError(t, err)
	assert.Equal(t, "ap-northeast-2a-id", subnetOf(g, "k8s-api-scan"))
	assert.Equal(t, "ap-northeast-2a-id", subnetOf(g, "k8s-redis-3"))
	assert.Equal(t, "ap-northeast-2c-id", subnetOf(g, "k8s-api-info"), "the stack does not have its previous zone")
	for zone, network := range map[string]string{"a": "10.0.0.0/20", "b": "10.0.16.0/20", "c": "10.0.32.0/20", "d": "10.0.48.0/20"} {
		assert.Equal(t, network, g.named(t, "aws:ec2/subnet:Subnet", "ap-northeast-2"+zone).Inputs["cidrBlock"].StringValue())
	}

	fresh, err := run("dev", values)
	require.NoError(t, err)
	assert.Equal(t, "ap-northeast-2d-id", subnetOf(fresh, "k8s-redis-3"), "its preferred zone is two after that of the first")
}

// A controller that discovers subnets by their tags would also use one that is about to be deleted.
func TestTheIngressNamesTheSubnets(t *testing.T) {
	values := settings(t, "dev")
	values["eco2:zones"] = []string{"ap-northeast-2a", "ap-northeast-2d"}
	g, err := run("dev", values)
	require.NoError(t, err)
	ingress := g.named(t, "kubernetes:networking.k8s.io/v1:Ingress", "argocd")
	annotations := ingress.Inputs["metadata"].ObjectValue()["annotations"].ObjectValue()
	assert.Equal(t, "ap-northeast-2a-id,ap-northeast-2d-id", annotations["alb.ingress.kubernetes.io/subnets"].StringValue())
}

// addresses returns a list of count networks with one address each.
func addresses(count int) []any {
	var list []any
	for i := range count {
		list = append(list, fmt.Sprintf("203.0.113.%d/32", i))
	}
	return list
}

// Validation counts exactly the rules that the program declares.
func TestInboundRulesAreCounted(t *testing.T) {
	for _, test := range []struct {
		admins, nodePorts int
		domain            bool
		rules             int
		refused           bool
	}{
		{1, 0, true, 6, false},
		{19, 0, true, 60, false},
		{19, 0, false, 58, false},
		{1, 54, true, 59, false},
		{1, 55, true, 60, false},
		{1, 56, true, 61, true},
		{20, 0, false, 61, true},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			values := settings(t, "dev")
			values["eco2:adminCidrs"], values["eco2:nodePortCidrs"] = addresses(test.admins), addresses(test.nodePorts)
			if !test.domain {
				values["eco2:domain"], values["eco2:hostedZoneId"] = "", ""
			}
			g, err := run("dev", values)
			if test.refused {
				require.ErrorContains(t, err, fmt.Sprintf("eco2:adminCidrs: needs %d inbound rules", test.rules))
				return
			}
			require.NoError(t, err)
			assert.Len(t, g.ofType("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"), test.rules)
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
		{"both at once", full, exchanged, "has new networks, whose rules are created before the old ones are deleted: " +
			"with those of eco2:nodePortCidrs that would be 63 inbound rules at once, and AWS allows 60 in a security group; " +
			"remove the old networks and run pulumi up, then add the new ones"},
		{"all of a short list at once", addresses(9), []any{"198.51.100.9/32"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			values := settings(t, "dev")
			values["eco2:adminCidrs"] = test.is
			_, err := runAs(program, "dev", values, previousOutput(map[string]any{"adminCidrs": test.was, "nodePortCidrs": test.was}))
			if test.problem == "" {
				require.NoError(t, err)
				return
			}
			var wrong *config.Error
			require.ErrorAs(t, err, &wrong)
			assert.Equal(t, []config.Problem{{Key: "eco2:adminCidrs", Text: test.problem}}, wrong.Problems)
		})
	}
}

// Removing the platform gives a warning about the data that is deleted with it. A bare cluster has nothing to lose.
func TestRemovingThePlatformGivesAWarning(t *testing.T) {
	values := settings(t, "dev")
	assert.Empty(t, warningsOf(t, values, previousOutput(nil)))
	values["eco2:platform"] = false
	assert.Empty(t, warningsOf(t, values, nil), "a new stack")
	assert.Empty(t, warningsOf(t, values, previousOutput(map[string]any{"platform": false})))
	assert.Equal(t, []string{"eco2:platform: this update deletes the platform, and with it all volume claims and their data; " +
		"see docs/operations.md, 'Taking the platform away'"}, warningsOf(t, values, previousOutput(nil)))
}
