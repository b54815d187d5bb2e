package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/cloud/aws"
)

// nameTTL is the TTL of instances' names in seconds, as in AWS.
const nameTTL = 60

// names resolves the private names of a VPC's machines, and the names of the services outside the VPC. It refuses all
// other queries at once: without an answer, every such lookup on the machines would have to time out.
type names struct {
	account *aws.Account
	vpc     string
	// internet is the address of everything outside the VPC; nil means that there is no internet.
	internet net.IP
}

func (n names) serve(ctx context.Context) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		_ = w.WriteMsg(n.answer(query)) // after an error the client repeats its query
	})
	group, ctx := errgroup.WithContext(ctx)
	for _, network := range []string{"udp4", "tcp4"} {
		server := &dns.Server{Addr: ":53", Net: network, Handler: handler}
		group.Go(func() error {
			defer context.AfterFunc(ctx, func() { _ = server.Shutdown() })()
			if err := server.ListenAndServe(); ctx.Err() == nil {
				return fmt.Errorf("serving names: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (n names) answer(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg)
	if len(query.Question) != 1 {
		return reply.SetRcode(query, dns.RcodeRefused)
	}
	question := query.Question[0]
	address, err := n.address(strings.ToLower(strings.TrimSuffix(question.Name, ".")))
	switch {
	case err != nil:
		return reply.SetRcode(query, dns.RcodeServerFailure)
	case address == nil:
		if reply, ok := answerRecord(n.account, query); ok {
			return reply
		}
		return reply.SetRcode(query, dns.RcodeRefused)
	}
	reply.SetReply(query)
	if question.Qtype == dns.TypeA { // there are no records of other types
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: nameTTL}, A: address,
		}}
	}
	return reply
}

// address returns the address of a name, or nil if there is none.
func (n names) address(name string) (net.IP, error) {
	if n.internet != nil && served(name) {
		return n.internet, nil
	}
	instances, err := n.account.Instances()
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if i.VPCID == n.vpc && i.PrivateDNS == name {
			return net.ParseIP(i.PrivateIP), nil
		}
	}
	return nil, nil
}
