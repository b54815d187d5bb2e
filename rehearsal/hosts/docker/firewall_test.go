package docker

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
)

func TestFirewall(t *testing.T) {
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	home := netip.MustParsePrefix("203.0.113.7/24") // AWS stores it without the host bits
	for name, test := range map[string]struct {
		rules   []aws.Rule
		members map[string][]netip.Addr
	}{
		"cluster": {
			rules: []aws.Rule{
				{Direction: aws.Ingress, Protocol: "tcp", FromPort: 22, ToPort: 22, CIDR: home},
				{Direction: aws.Ingress, Protocol: "tcp", FromPort: 30000, ToPort: 32767, CIDR: home},
				{Direction: aws.Ingress, Protocol: "-1", ToPort: 65535, ReferencedGroupID: "sg-0a"},
				{Direction: aws.Egress, Protocol: "-1", ToPort: 65535, CIDR: any4},
			},
			members: map[string][]netip.Addr{"sg-0a": {netip.MustParseAddr("10.0.16.4"), netip.MustParseAddr("10.0.0.4")}},
		},
		"protocols": {
			rules: []aws.Rule{
				{Direction: aws.Ingress, Protocol: "17", FromPort: 53, ToPort: 53, CIDR: any4},
				{Direction: aws.Ingress, Protocol: "icmp", FromPort: 8, ToPort: 0, CIDR: any4},
				{Direction: aws.Ingress, Protocol: "icmp", FromPort: 3, ToPort: -1, CIDR: any4},
				{Direction: aws.Ingress, Protocol: "1", FromPort: -1, ToPort: -1, CIDR: home},
				{Direction: aws.Ingress, Protocol: "icmpv6", FromPort: -1, ToPort: -1, CIDR: any6},
				{Direction: aws.Ingress, Protocol: "4", CIDR: any4},
				{Direction: aws.Ingress, Protocol: "tcp", FromPort: 443, ToPort: 443, PrefixListID: "pl-0a"},
				{Direction: aws.Egress, Protocol: "tcp", FromPort: 443, ToPort: 443, CIDR: any6},
				// The same rule in two groups.
				{Direction: aws.Egress, Protocol: "udp", FromPort: 1, ToPort: 2, ReferencedGroupID: "sg-0b", GroupID: "sg-0a"},
				{Direction: aws.Egress, Protocol: "udp", FromPort: 1, ToPort: 2, ReferencedGroupID: "sg-0b", GroupID: "sg-0b"},
			},
		},
		"none": {},
	} {
		t.Run(name, func(t *testing.T) {
			got := firewall(test.rules, test.members, netip.MustParseAddr("10.0.0.2"))
			golden := filepath.Join("testdata", "firewall-"+name+".nft")
			if os.Getenv("GOLDEN") != "" {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestALoadBalancersInterfacesAreMembersOfItsGroups(t *testing.T) {
	state := t.TempDir()
	model, err := provider.New(state, nil)
	require.NoError(t, err)
	require.NoError(t, model.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": "eu-central-1"})))
	create := func(typ string, in props) string {
		id, _, err := model.Kinds(typ).Create(t.Context(), &plugin.Request{Type: typ, Inputs: resource.NewPropertyMapFromMap(in)})
		require.NoError(t, err)
		return id
	}
	vpc := create("aws:ec2/vpc:Vpc", props{"cidrBlock": "10.0.0.0/16"})
	subnet := create("aws:ec2/subnet:Subnet", props{"vpcId": vpc, "cidrBlock": "10.0.0.0/20", "availabilityZone": "eu-central-1a"})
	group := create("aws:ec2/securityGroup:SecurityGroup", props{"vpcId": vpc, "name": "cluster"})
	create(ingressType, props{"securityGroupId": group, "ipProtocol": "-1", "referencedSecurityGroupId": group})
	machine := props{"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In("eu-central-1"), "instanceType": "t3.small", "subnetId": subnet,
		"vpcSecurityGroupIds": []any{group}}
	running, notCreated := create(instanceType, machine), create(instanceType, machine)

	account := aws.Open(state)
	f := filesOf(state, running)
	require.NoError(t, f.write(firewallFile, "a ruleset of a driver"))
	update := func() string {
		require.NoError(t, UpdateFirewalls(t.Context(), state))
		ruleset, err := os.ReadFile(f.path(firewallFile))
		require.NoError(t, err)
		return string(ruleset)
	}
	assert.Contains(t, update(), "elements = { 10.0.0.4, 10.0.0.5 }")
	balancer := aws.LoadBalancer{ARN: "arn:lb", Name: "k8s-x", VPCID: vpc, SubnetIDs: []string{subnet}, SecurityGroupIDs: []string{group}}
	require.NoError(t, account.PutLoadBalancer(balancer))
	assert.Contains(t, update(), "elements = { 10.0.0.4, 10.0.0.5, 10.0.15.254 }")
	balancer.SecurityGroupIDs = []string{"sg-0b"}
	require.NoError(t, account.PutLoadBalancer(balancer))
	assert.NotContains(t, update(), "10.0.15.254", "a member of another group")
	balancer.SecurityGroupIDs = []string{group}
	require.NoError(t, account.PutLoadBalancer(balancer))
	assert.Contains(t, update(), "10.0.15.254")
	require.NoError(t, account.DeleteLoadBalancer(balancer.ARN, time.Now().Add(time.Hour)))
	assert.NotContains(t, update(), "10.0.15.254")
	assert.NoDirExists(t, filesOf(state, notCreated).dir, "a driver has not created this machine yet")
}
