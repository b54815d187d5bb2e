package main

import (
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/internal/setup"
)

func TestRecords(t *testing.T) {
	account := aws.Open(t.TempDir())
	for _, r := range []aws.Record{
		{Name: "www.eco2.example", Type: "A", Records: []string{"192.0.2.7"}},
		{Name: "edns-a.www.eco2.example", Type: "TXT", Records: []string{`"heritage=external-dns"`}},
	} {
		r.ZoneID = setup.HostedZone
		require.NoError(t, account.PutRecord(r))
	}
	ask := func(name string, typ uint16) *dns.Msg {
		return names{account: account, vpc: "vpc-0a"}.answer(new(dns.Msg).SetQuestion(name, typ))
	}
	reply := ask("WWW.eco2.example.", dns.TypeA)
	require.Len(t, reply.Answer, 1)
	assert.Equal(t, "WWW.eco2.example.\t60\tIN\tA\t192.0.2.7", reply.Answer[0].String())
	for _, reply := range []*dns.Msg{ask("www.eco2.example.", dns.TypeAAAA), ask("edns-a.www.eco2.example.", dns.TypeA)} {
		assert.Equal(t, dns.RcodeSuccess, reply.Rcode, "the name exists, but has no address of this type")
		assert.Empty(t, reply.Answer)
	}
	assert.Equal(t, dns.RcodeRefused, ask("other.eco2.example.", dns.TypeA).Rcode)
}
