package main

import (
	"github.com/miekg/dns"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/balancer"
)

// answerRecord resolves names of load balancers and in the hosted zone, as public DNS would. It only knows A records.
// ok is false if there is no such name.
func answerRecord(account *aws.Account, query *dns.Msg) (reply *dns.Msg, ok bool) {
	question := query.Question[0]
	addresses, ok, err := balancer.Resolve(account, question.Name)
	if err != nil {
		return new(dns.Msg).SetRcode(query, dns.RcodeServerFailure), true
	}
	if !ok {
		return nil, false
	}
	reply = new(dns.Msg).SetReply(query)
	if question.Qtype != dns.TypeA {
		return reply, true
	}
	for _, address := range addresses {
		reply.Answer = append(reply.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: nameTTL},
			A:   address.AsSlice(),
		})
	}
	return reply, true
}
