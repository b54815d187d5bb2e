package main

import (
	"net"
	"testing"

	"github.com/miekg/dns"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/provider"
	"eco2/rehearsal/engine/plugin"
)

func TestNames(t *testing.T) {
	state := t.TempDir()
	model, err := provider.New(state, nil)
	require.NoError(t, err)
	type props = map[string]any
	require.NoError(t, model.Configure(t.Context(), resource.NewPropertyMapFromMap(props{"region": "eu-central-1"})))
	create := func(typ string, in props) string {
		id, _, err := model.Kinds(typ).Create(t.Context(), &plugin.Request{Type: typ, Inputs: resource.NewPropertyMapFromMap(in)})
		require.NoError(t, err)
		return id
	}
	vpc := create("aws:ec2/vpc:Vpc", props{"cidrBlock": "10.0.0.0/16"})
	subnet := create("aws:ec2/subnet:Subnet", props{"vpcId": vpc, "cidrBlock": "10.0.0.0/20", "availabilityZone": "eu-central-1a"})
	create("aws:ec2/instance:Instance", props{"ami": aws.UbuntuImage("20250821", "amd64", "x86_64").In("eu-central-1"),
		"instanceType": "t3.small", "subnetId": subnet})

	ask := func(vpc, name string, typ uint16) *dns.Msg {
		n := names{account: aws.Open(state), vpc: vpc, internet: net.IPv4(100, 64, 0, 1)}
		return n.answer(new(dns.Msg).SetQuestion(name, typ))
	}
	const name = "ip-10-0-0-4.eu-central-1.compute.internal."
	reply := ask(vpc, name, dns.TypeA)
	require.Len(t, reply.Answer, 1)
	assert.Equal(t, name+"\t60\tIN\tA\t10.0.0.4", reply.Answer[0].String())
	assert.Len(t, ask(vpc, "IP-10-0-0-4.eu-central-1.compute.internal.", dns.TypeA).Answer, 1)
	reply = ask(vpc, name, dns.TypeAAAA)
	assert.Equal(t, dns.RcodeSuccess, reply.Rcode, "the name exists")
	assert.Empty(t, reply.Answer)
	for _, outside := range []string{
		"git.eco2.example.", "route53.amazonaws.com.", "ssm.ap-northeast-2.amazonaws.com.", "EC2.ap-northeast-2.amazonaws.com.",
		"elasticloadbalancing.eu-central-1.amazonaws.com.", "acm.eu-central-1.amazonaws.com.",
	} {
		reply := ask(vpc, outside, dns.TypeA)
		require.Len(t, reply.Answer, 1, outside)
		assert.Equal(t, outside+"\t60\tIN\tA\t100.64.0.1", reply.Answer[0].String())
	}
	for _, other := range []*dns.Msg{
		ask(vpc, "example.com.", dns.TypeA), ask(vpc, "s3.eu-central-1.amazonaws.com.", dns.TypeA), ask(vpc, "eco2.example.", dns.TypeA),
		ask(vpc, "k8s-1.ec2.eu-central-1.amazonaws.com.", dns.TypeA), ask("vpc-other", name, dns.TypeA), ask(vpc, "ip-10-0-0-5.eu-central-1.compute.internal.", dns.TypeA),
	} {
		assert.Equal(t, dns.RcodeRefused, other.Rcode)
		assert.Empty(t, other.Answer)
	}
}
