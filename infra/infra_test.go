package infra

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSubnetCIDR(t *testing.T) {
	for _, test := range []struct{ vpc, zone, want string }{
		{"10.0.0.0/16", "ap-northeast-2a", "10.0.0.0/20"},
		{"10.0.0.0/16", "ap-northeast-2c", "10.0.32.0/20"},
		{"10.1.0.0/16", "ap-northeast-2b", "10.1.16.0/20"},
		{"172.16.240.0/20", "us-east-1d", "172.16.243.0/24"},
		{"10.0.0.0/16", "us-east-1p", "10.0.240.0/20"},
	} {
		subnet, err := subnetCIDR(netip.MustParsePrefix(test.vpc), test.zone)
		require.NoError(t, err)
		assert.Equal(t, test.want, subnet.String())
	}
	for _, test := range []struct{ vpc, zone string }{
		{"10.0.0.0/16", "us-east-1q"}, {"10.0.0.0/16", "us-east-1"}, {"10.0.0.0/16", ""}, {"10.0.0.0/25", "us-east-1a"},
	} {
		_, err := subnetCIDR(netip.MustParsePrefix(test.vpc), test.zone)
		assert.EqualError(t, err, fmt.Sprintf("cutting the subnet of zone %q out of %s: it does not fit", test.zone, test.vpc))
	}
}

// A machine stays in its current zone if the stack still has it. A new one is placed in its preferred zone or, if the
// stack does not have that zone, in one that is chosen by counting through the stack's list.
func TestZoneOfAMachine(t *testing.T) {
	for _, test := range []struct {
		prefers        int
		zones, current string
		want           string
	}{
		{0, "abc", "", "a"}, {1, "abc", "", "b"}, {2, "abc", "", "c"},
		{3, "abc", "", "a"}, {4, "abc", "", "b"}, // further machines of an entry
		{2, "ab", "", "a"}, {2, "abd", "", "d"}, {1, "acd", "", "c"},
		{2, "cba", "", "c"}, {0, "bcd", "", "b"}, // the order does not matter if the preferred zone is in the list
		{2, "ab", "c", "a"}, {2, "abd", "c", "d"}, // its current zone is removed
		{2, "abc", "a", "a"}, {3, "abcd", "a", "a"}, {2, "abd", "a", "a"}, // another zone is added
	} {
		var zones []string
		for _, zone := range test.zones {
			zones = append(zones, "eu-central-1"+string(zone))
		}
		current := ""
		if test.current != "" {
			current = "eu-central-1" + test.current
		}
		assert.Equal(t, "eu-central-1"+test.want, NodeSpec{Zone: test.prefers}.zone(zones, current), "%+v", test)
	}
}

func TestAccountOf(t *testing.T) {
	account, err := accountOf("arn:aws:iam::123456789012:role/eco2-dev-node")
	require.NoError(t, err)
	assert.Equal(t, "123456789012", account)
	for _, wrong := range []string{"", "arn:aws:s3:::bucket", "role/eco2-dev-node"} {
		_, err := accountOf(wrong)
		assert.ErrorContains(t, err, "it is not an ARN with an account")
	}
}

// Every Ingress must name the security group to use. If the controller were permitted to create groups, an Ingress
// without that annotation would get another one.
func TestTheLoadBalancerControllerMayMakeNoSecurityGroup(t *testing.T) {
	for _, s := range loadBalancers("ap-northeast-2", "123456789012", "eco2-dev") {
		for _, action := range s.Action {
			assert.NotRegexp(t, `SecurityGroup(Ingress|Egress)?$|^ec2:(Create|Delete|Authorize|Revoke)`, action)
		}
	}
}

// The node role must not be able to read the parameters of another stack.
func TestOnlyTheStacksParametersAreReadable(t *testing.T) {
	for _, s := range parameters("ap-northeast-2", "123456789012", "/eco2/dev") {
		assert.Equal(t, []string{"arn:aws:ssm:ap-northeast-2:123456789012:parameter/eco2/dev/*"}, s.Resource)
	}
}
