package infra

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSubnetCIDR(t *testing.T) {
	for _, test := range []struct {
		vpc  string
		i    int
		want string
	}{
		{"10.0.0.0/16", 0, "10.0.0.0/20"},
		{"10.0.0.0/16", 2, "10.0.32.0/20"},
		{"10.1.0.0/16", 1, "10.1.16.0/20"},
		{"172.16.240.0/20", 3, "172.16.243.0/24"},
		{"10.0.0.0/16", 15, "10.0.240.0/20"},
	} {
		subnet, err := subnetCIDR(netip.MustParsePrefix(test.vpc), test.i)
		require.NoError(t, err)
		assert.Equal(t, test.want, subnet.String())
	}
	_, err := subnetCIDR(netip.MustParsePrefix("10.0.0.0/16"), 16)
	assert.EqualError(t, err, "cutting subnet 16 out of 10.0.0.0/16: it does not fit")
	_, err = subnetCIDR(netip.MustParsePrefix("10.0.0.0/25"), 0)
	assert.EqualError(t, err, "cutting subnet 0 out of 10.0.0.0/25: it does not fit")
}

func TestAccountOf(t *testing.T) {
	account, err := accountOf("arn:aws:iam::123456789012:role/eco2-dev-node")
	require.NoError(t, err)
	assert.Equal(t, "123456789012", account)
	for _, wrong := range []string{"", "arn:aws:s3:::bucket", "role/eco2-dev-node"} {
		_, err := accountOf(wrong)
		assert.ErrorContains(t, err, "it is no ARN with an account")
	}
}

// The controller is told which security group to use: a right to make one would let a forgotten annotation
// make another.
func TestTheLoadBalancerControllerMayMakeNoSecurityGroup(t *testing.T) {
	for _, s := range loadBalancers("ap-northeast-2", "123456789012", "eco2-dev") {
		for _, action := range s.Action {
			assert.NotRegexp(t, `SecurityGroup(Ingress|Egress)?$|^ec2:(Create|Delete|Authorize|Revoke)`, action)
		}
	}
}

// No policy holds for the parameters of another stack.
func TestParametersAreTheStacksOwn(t *testing.T) {
	for _, s := range parameters("ap-northeast-2", "123456789012", "/eco2/dev") {
		assert.Equal(t, []string{"arn:aws:ssm:ap-northeast-2:123456789012:parameter/eco2/dev/*"}, s.Resource)
	}
}
