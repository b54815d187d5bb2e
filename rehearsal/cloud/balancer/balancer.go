package balancer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"eco2/rehearsal/cloud/aws"
)

// balancer is a running load balancer.
type balancer struct {
	vpc *VPC
	// current is the state of the account that the next request and health check use.
	current atomic.Pointer[settings]
	health  health
	// issued caches the certificates that were issued for it, by the names in them.
	issued    map[string]tls.Certificate
	taken     map[netip.Addr]bool
	endpoints map[endpointKey]*endpoint
	stop      context.CancelFunc
}

// endpointKey identifies a listening socket.
type endpointKey struct {
	netip.AddrPort
	protocol string
}

func newBalancer(ctx context.Context, v *VPC) *balancer {
	b := &balancer{vpc: v, issued: map[string]tls.Certificate{}, taken: map[netip.Addr]bool{}, endpoints: map[endpointKey]*endpoint{}}
	b.current.Store(&settings{})
	ctx, b.stop = context.WithCancel(ctx)
	b.health.changed = make(chan struct{}, 1)
	go b.watch(ctx)
	return b
}

// reconcile makes addresses, certificates and listening sockets match the account.
func (b *balancer) reconcile(s *settings) error {
	err := b.resolveCertificates(s)
	b.current.Store(s)
	b.health.setTargets(s)
	errs := []error{err}
	desired := map[endpointKey]bool{}
	for address := range s.interfaces {
		if !b.taken[address] {
			if err := b.vpc.AddAddress(address); err != nil {
				errs = append(errs, err)
				continue
			}
			b.taken[address] = true
		}
		for _, l := range s.Listeners {
			if l.Protocol == "HTTPS" && len(s.issued) == 0 {
				continue // resolveCertificates has returned an error
			}
			key := endpointKey{netip.AddrPortFrom(address, uint16(l.Port)), l.Protocol} //nolint:gosec // ports fit into 16 bits
			desired[key] = true
		}
	}
	for key, d := range b.endpoints {
		if !desired[key] {
			errs = append(errs, d.close())
			delete(b.endpoints, key)
		}
	}
	for key := range desired {
		if b.endpoints[key] != nil {
			continue
		}
		d, err := b.open(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.endpoints[key] = d
	}
	for address := range b.taken {
		if _, ok := s.interfaces[address]; !ok {
			errs = append(errs, b.release(address))
		}
	}
	return errors.Join(errs...)
}

// resolveCertificates sets s.issued to a certificate for each issued one of the account, in the load balancer's order.
func (b *balancer) resolveCertificates(s *settings) error {
	var errs []error
	for _, arn := range s.Certificates() {
		at := slices.IndexFunc(s.certificates, func(c aws.Certificate) bool { return c.ARN == arn })
		if at < 0 {
			errs = append(errs, fmt.Errorf("terminating TLS with %s: there is no such certificate", arn))
			continue
		}
		c := s.certificates[at]
		if c.Status != "ISSUED" {
			errs = append(errs, fmt.Errorf("terminating TLS with %s for %s: it is %s, not ISSUED", arn, c.Domain, c.Status))
			continue
		}
		names := strings.Join(c.Names, " ")
		made, ok := b.issued[names]
		if !ok {
			var err error
			if made, err = b.vpc.Issue(c.Names...); err != nil {
				errs = append(errs, err)
				continue
			}
			b.issued[names] = made
		}
		s.issued = append(s.issued, made)
	}
	return errors.Join(errs...)
}

func (b *balancer) release(address netip.Addr) error {
	delete(b.taken, address)
	return b.vpc.RemoveAddress(address)
}

// close closes all connections and removes the addresses.
func (b *balancer) close() error {
	b.stop()
	var errs []error
	for _, d := range b.endpoints {
		errs = append(errs, d.close())
	}
	for address := range b.taken {
		errs = append(errs, b.release(address))
	}
	return errors.Join(errs...)
}
