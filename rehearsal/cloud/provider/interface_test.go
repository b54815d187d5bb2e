package provider

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
)

func TestLoadBalancerIsAMemberOfItsSecurityGroups(t *testing.T) {
	w := newWorld(t)
	c := w.cluster()
	a := w.cloud.account
	web := w.make(typGroup, "web", in{"vpcId": c.vpc.id, "name": "web"})
	w.make(typIngress, "web", in{"securityGroupId": web.id, "ipProtocol": "tcp", "fromPort": 443, "toPort": 443, "cidrIpv4": "192.0.2.0/24"})
	w.make(typEgress, "web", in{"securityGroupId": web.id, "ipProtocol": "-1", "referencedSecurityGroupId": c.group.id})
	w.make(typIngress, "nodeports", in{"securityGroupId": c.group.id, "ipProtocol": "tcp", "fromPort": 30000, "toPort": 32767, "referencedSecurityGroupId": web.id})
	b := aws.LoadBalancer{ARN: "arn:lb", Name: "k8s-x", VPCID: c.vpc.id, SubnetIDs: []string{c.subnet.id}, SecurityGroupIDs: []string{web.id}}
	require.NoError(t, a.PutLoadBalancer(b))
	interfaces, err := a.Interfaces()
	require.NoError(t, err)
	require.Len(t, interfaces, 1, "interfaces of instances are not listed")
	i := interfaces[0]
	assert.Equal(t, netip.MustParseAddr("10.0.15.254"), i.PrivateIP, "the last address of the subnet before the broadcast address")
	assert.Equal(t, []string{web.id}, i.SecurityGroupIDs)
	_, err = w.try(typInstance, "second", c.machine(in{"privateIp": "10.0.15.254"}))
	require.ErrorContains(t, err, "InvalidIPAddress.InUse")

	reaches := func(port int) bool {
		ok, err := a.AllowsInbound(c.node.id, port, i.PrivateIP)
		require.NoError(t, err)
		return ok
	}
	assert.True(t, reaches(30080), "the rule that references its group allows it")
	assert.False(t, reaches(10250))
	node := netip.MustParseAddr(c.node.out("privateIp").(string))
	for _, s := range []struct {
		d       aws.Direction
		port    int
		peer    netip.Addr
		allowed bool
	}{
		{aws.Ingress, 443, netip.MustParseAddr("192.0.2.7"), true},
		{aws.Ingress, 80, netip.MustParseAddr("192.0.2.7"), false},
		{aws.Ingress, 443, netip.MustParseAddr("198.51.100.7"), false},
		{aws.Egress, 30080, node, true},
		{aws.Egress, 30080, netip.MustParseAddr("192.0.2.7"), false},
	} {
		allowed, err := a.AllowsInterface(s.d, i, s.port, s.peer)
		require.NoError(t, err)
		assert.Equal(t, s.allowed, allowed, s)
	}

	b.SecurityGroupIDs = []string{c.group.id}
	require.NoError(t, a.PutLoadBalancer(b))
	interfaces, err = a.Interfaces()
	require.NoError(t, err)
	require.Len(t, interfaces, 1)
	assert.Equal(t, i.PrivateIP, interfaces[0].PrivateIP, "the interface keeps its address")
	assert.True(t, reaches(10250), "the rules of its new group apply")

	second := b
	second.ARN, second.Name = "arn:second", "k8s-y"
	require.NoError(t, a.PutLoadBalancer(second))
	require.NoError(t, a.DeleteLoadBalancer(b.ARN, time.Now().Add(time.Hour)))
	interfaces, err = a.Interfaces()
	require.NoError(t, err)
	require.Len(t, interfaces, 1, "an interface that is to be released is not in use")
	assert.Equal(t, netip.MustParseAddr("10.0.15.253"), interfaces[0].PrivateIP)
	third := b
	third.ARN, third.Name = "arn:third", "k8s-z"
	require.NoError(t, a.PutLoadBalancer(third))
	interfaces, err = a.Interfaces()
	require.NoError(t, err)
	require.Len(t, interfaces, 2)
	assert.Equal(t, netip.MustParseAddr("10.0.15.252"), interfaces[1].PrivateIP, "but keeps its address until AWS releases it")

	require.NoError(t, a.DeleteLoadBalancer(b.ARN, time.Now()))
	fourth := b
	fourth.ARN, fourth.Name = "arn:fourth", "k8s-w"
	require.NoError(t, a.PutLoadBalancer(fourth))
	interfaces, err = a.Interfaces()
	require.NoError(t, err)
	assert.Equal(t, i.PrivateIP, interfaces[0].PrivateIP, "the address is free again")
}

func TestLoadBalancerNeedsAFreeAddressInItsSubnet(t *testing.T) {
	w := newWorld(t)
	net := w.make(typVPC, "v", in{"cidrBlock": "10.0.0.0/28"})
	subnet := w.make(typSubnet, "s", in{"vpcId": net.id, "cidrBlock": "10.0.0.0/28", "availabilityZone": "eu-central-1a"})
	a := w.cloud.account
	put := func(name string) error {
		return a.PutLoadBalancer(aws.LoadBalancer{ARN: "arn:" + name, Name: name, VPCID: net.id, SubnetIDs: []string{subnet.id}})
	}
	for _, name := range "abcdefghijk" { // 16 addresses, of which AWS reserves five
		require.NoError(t, put(string(name)))
	}
	require.ErrorContains(t, put("l"), "api error InvalidSubnet: Not enough IP space available in "+subnet.id)
	list, err := a.LoadBalancers()
	require.NoError(t, err)
	assert.Len(t, list, 11, "the rejected load balancer does not exist")
}

// A subnet that a load balancer was removed from can be deleted.
func TestLoadBalancerIsRemovedFromASubnet(t *testing.T) {
	w := newWorld(t)
	net := w.make(typVPC, "v", in{"cidrBlock": "10.0.0.0/16"})
	var subnets []made
	var ids []string
	for i, zone := range []string{"a", "b", "c"} {
		subnets = append(subnets, w.make(typSubnet, zone, in{"vpcId": net.id, "cidrBlock": fmt.Sprintf("10.0.%d.0/20", 16*i), "availabilityZone": "eu-central-1" + zone}))
		ids = append(ids, subnets[i].id)
	}
	a := w.cloud.account
	b := aws.LoadBalancer{ARN: "arn:x", Name: "k8s-x", VPCID: net.id, SubnetIDs: ids}
	require.NoError(t, a.PutLoadBalancer(b))
	require.ErrorContains(t, w.delete(subnets[2]), "DependencyViolation")

	b.SubnetIDs = ids[:2]
	require.NoError(t, a.PutLoadBalancer(b))
	require.NoError(t, w.delete(subnets[2]))
	interfaces, err := a.Interfaces()
	require.NoError(t, err)
	assert.Len(t, interfaces, 2)
}

func TestBroadcast(t *testing.T) {
	for network, last := range map[string]string{"10.0.0.0/20": "10.0.15.255", "10.0.16.0/20": "10.0.31.255", "192.0.2.16/28": "192.0.2.31"} {
		assert.Equal(t, last, aws.Broadcast(netip.MustParsePrefix(network)).String())
	}
}
