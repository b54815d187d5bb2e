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

	"eco2/rehearsal/aws"
)

// balancer is a load balancer that runs.
type balancer struct {
	vpc *VPC
	// now is what holds for the next request and health check.
	now    atomic.Pointer[settings]
	health health
	// issued are the certificates that were made for it, by the names in them.
	issued map[string]tls.Certificate
	taken  map[netip.Addr]bool
	doors  map[doorKey]*door
	stop   context.CancelFunc
}

// doorKey tells listening sockets apart.
type doorKey struct {
	netip.AddrPort
	protocol string
}

func newBalancer(ctx context.Context, v *VPC) *balancer {
	b := &balancer{vpc: v, issued: map[string]tls.Certificate{}, taken: map[netip.Addr]bool{}, doors: map[doorKey]*door{}}
	b.now.Store(&settings{})
	ctx, b.stop = context.WithCancel(ctx)
	b.health.changed = make(chan struct{}, 1)
	go b.watch(ctx)
	return b
}

// follow takes over what the account says.
func (b *balancer) follow(s *settings) error {
	err := b.certify(s)
	b.now.Store(s)
	b.health.hurry(s)
	errs := []error{err}
	wanted := map[doorKey]bool{}
	for address := range s.interfaces {
		if !b.taken[address] {
			if err := b.vpc.Take(address); err != nil {
				errs = append(errs, err)
				continue
			}
			b.taken[address] = true
		}
		for _, l := range s.Listeners {
			if l.Protocol == "HTTPS" && len(s.issued) == 0 {
				continue // said by certify
			}
			key := doorKey{netip.AddrPortFrom(address, uint16(l.Port)), l.Protocol} //nolint:gosec // ports are that small
			wanted[key] = true
		}
	}
	for key, d := range b.doors {
		if !wanted[key] {
			errs = append(errs, d.close())
			delete(b.doors, key)
		}
	}
	for key := range wanted {
		if b.doors[key] != nil {
			continue
		}
		d, err := b.open(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.doors[key] = d
	}
	for address := range b.taken {
		if _, ok := s.interfaces[address]; !ok {
			errs = append(errs, b.release(address))
		}
	}
	return errors.Join(errs...)
}

// certify fills in the certificates that the load balancer can answer with, in its own order.
func (b *balancer) certify(s *settings) error {
	var errs []error
	for _, arn := range s.Certificates() {
		at := slices.IndexFunc(s.certificates, func(c aws.Certificate) bool { return c.ARN == arn })
		if at < 0 {
			errs = append(errs, fmt.Errorf("ending TLS with %s: there is no such certificate", arn))
			continue
		}
		c := s.certificates[at]
		if c.Status != "ISSUED" {
			errs = append(errs, fmt.Errorf("ending TLS with %s for %s: it is %s, not ISSUED", arn, c.Domain, c.Status))
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
	return b.vpc.Release(address)
}

// close hangs up on everybody and gives the addresses back.
func (b *balancer) close() error {
	b.stop()
	var errs []error
	for _, d := range b.doors {
		errs = append(errs, d.close())
	}
	for address := range b.taken {
		errs = append(errs, b.release(address))
	}
	return errors.Join(errs...)
}
