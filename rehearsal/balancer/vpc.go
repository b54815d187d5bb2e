// Package balancer makes the load balancers of the AWS model carry traffic: each has its addresses in its VPC, ends
// TLS there, and sends requests on to the NodePorts of healthy machines.
//
// As at AWS: listeners, redirects and rules; which certificate answers for which name, and that one which is not
// issued answers for none; what a target is told of a request (X-Forwarded-For, -Proto and -Port, and the Host as it
// came); health checks; a group with targets that are all unhealthy has requests sent to all of them; and statuses:
// 404 where no rule is for a request, 503 where a group has no target, 502 and 504 where a target fails or is silent.
// Security groups judge both sides: who comes in, and where it goes. On the machines they are packets: a load
// balancer comes from an address of its own, and their firewalls know it as a member of its groups.
//
// Not as at AWS: its only addresses are private ones, which the rehearsal's host reaches too; who is not let in is hung
// up on, where AWS lets him wait; health is checked more often and by one of its addresses; and each request has a
// connection of its own to its target, so that a changed rule or policy shows in the next request.
package balancer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"eco2/rehearsal/aws"
)

// look is how often the account is asked for what changed.
const look = time.Second

// VPC is a VPC whose load balancers run.
type VPC struct {
	Account *aws.Account
	ID      string
	// Issue makes a server's certificate for names, as an authority does.
	Issue func(names ...string) (tls.Certificate, error)
	// Take makes this host answer at an address, and Release ends that.
	Take, Release func(netip.Addr) error
	// Joined hears that other addresses than before are members of security groups. It hears it again if it fails.
	Joined func(ctx context.Context) error
	Log    *log.Logger

	// members are the interfaces that Joined last heard of, running the load balancers, by ARN.
	members []aws.Interface
	running map[string]*balancer
}

// Run follows the account until the context ends.
func (v *VPC) Run(ctx context.Context) error {
	defer v.close()
	said := ""
	for {
		now := ""
		if err := v.follow(ctx); err != nil && ctx.Err() == nil {
			now = err.Error()
		}
		if now != "" && now != said {
			v.Log.Print(now)
		}
		said = now
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(look):
		}
	}
}

func (v *VPC) close() {
	for _, b := range v.running {
		_ = b.close() // the addresses go with this process's network
	}
}

// follow makes what runs what the account says. What fails for one load balancer stops no other.
func (v *VPC) follow(ctx context.Context) error {
	w, err := v.read()
	if err != nil {
		return err
	}
	var errs []error
	for arn, b := range v.running {
		if _, ok := w.balancers[arn]; !ok {
			errs = append(errs, b.close())
			delete(v.running, arn)
		}
	}
	if !slices.EqualFunc(w.members, v.members, func(a, b aws.Interface) bool { return reflect.DeepEqual(a, b) }) {
		if err := v.Joined(ctx); err != nil {
			return errors.Join(append(errs, fmt.Errorf("telling the machines of load balancers that came or went: %w", err))...)
		}
		v.members = w.members
	}
	for arn, now := range w.balancers {
		b, ok := v.running[arn]
		if !ok {
			if v.running == nil {
				v.running = map[string]*balancer{}
			}
			b = newBalancer(ctx, v)
			v.running[arn] = b
		}
		if err := b.follow(now); err != nil {
			errs = append(errs, fmt.Errorf("running load balancer %s: %w", now.Name, err))
		}
	}
	return errors.Join(errs...)
}

// wanted is what the account says there should be.
type wanted struct {
	members   []aws.Interface
	balancers map[string]*settings
}

func (v *VPC) read() (w wanted, err error) {
	balancers, err := v.Account.LoadBalancers()
	if err != nil {
		return w, fmt.Errorf("listing load balancers: %w", err)
	}
	interfaces, err := v.Account.Interfaces()
	if err != nil {
		return w, fmt.Errorf("listing the load balancers' interfaces: %w", err)
	}
	instances, err := v.Account.Instances()
	if err != nil {
		return w, fmt.Errorf("listing instances: %w", err)
	}
	certificates, err := v.Account.Certificates()
	if err != nil {
		return w, fmt.Errorf("listing certificates: %w", err)
	}
	groups, err := v.Account.TargetGroups()
	if err != nil {
		return w, fmt.Errorf("listing target groups: %w", err)
	}
	w.members = slices.DeleteFunc(interfaces, func(i aws.Interface) bool { return i.VPCID != v.ID })
	slices.SortFunc(w.members, func(a, b aws.Interface) int { return cmp.Compare(a.ID, b.ID) })
	w.balancers = map[string]*settings{}
	for _, b := range balancers {
		if b.VPCID != v.ID || b.ActiveAt.After(time.Now()) {
			continue
		}
		s := &settings{LoadBalancer: b, interfaces: map[netip.Addr]aws.Interface{}, targets: map[string][]target{}}
		for _, i := range w.members {
			if i.LoadBalancerARN == b.ARN {
				s.interfaces[i.PrivateIP] = i
			}
		}
		for _, g := range groups {
			if slices.Contains(b.Forwards(), g.ARN) {
				s.targets[g.ARN] = targetsOf(g, instances)
			}
		}
		for _, c := range certificates {
			if slices.Contains(b.Certificates(), c.ARN) {
				s.certificates = append(s.certificates, c)
			}
		}
		w.balancers[b.ARN] = s
	}
	return w, nil
}

// settings are what the account says of a load balancer.
type settings struct {
	aws.LoadBalancer
	// interfaces are its own, by address; targets those of each group that run, by the group's ARN.
	interfaces   map[netip.Addr]aws.Interface
	targets      map[string][]target
	certificates []aws.Certificate
	// issued are the certificates that it can answer with, the first for clients that name no other's.
	issued []tls.Certificate
}
