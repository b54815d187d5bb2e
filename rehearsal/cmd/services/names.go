package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/aws"
)

// nameTTL is AWS's for the names of instances, in seconds.
const nameTTL = 60

// serveNames answers for the private names of a VPC's machines. All else is refused at once, as there is no
// internet to ask: a resolver that waited would make every look-up on the machines wait.
func serveNames(ctx context.Context, account *aws.Account, vpc string) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		_ = w.WriteMsg(answer(account, vpc, query)) // who asked asks again
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

func answer(account *aws.Account, vpc string, query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg)
	refused := reply.SetRcode(query, dns.RcodeRefused)
	if len(query.Question) != 1 {
		return refused
	}
	question := query.Question[0]
	instances, err := account.Instances()
	if err != nil {
		return reply.SetRcode(query, dns.RcodeServerFailure)
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	for _, i := range instances {
		if i.VPCID != vpc || i.PrivateDNS != name {
			continue
		}
		reply.SetReply(query)
		if question.Qtype == dns.TypeA { // of other types it has none
			reply.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: nameTTL},
				A:   net.ParseIP(i.PrivateIP),
			}}
		}
		return reply
	}
	return refused
}
