// Package balancer runs the load balancers of the AWS model: each has its addresses in its VPC, terminates TLS there,
// and proxies requests to the NodePorts of healthy instances.
//
// As on AWS: listeners, redirects and rules; certificates are selected by the requested name, and only issued ones are
// used; targets get the headers X-Forwarded-For, -Proto and -Port, and the original Host; health checks; if all targets
// of a group are unhealthy, requests go to all of them; and the statuses are 404 if no rule matches a request, 503 if a
// group has no target, 502 and 504 if a target fails or does not respond. Security groups apply to both sides: to
// connections from clients and to connections to targets. The machines enforce their own groups in packets: a load
// balancer connects from its own address, and the machines' firewalls know that address as a member of its groups.
//
// Unlike on AWS: a load balancer has private addresses only, which the rehearsal's host can reach too; a connection
// that is not allowed is closed, where AWS lets the client wait for a timeout; health checks are more frequent and come
// from only one of its addresses; and each request opens a new connection to its target, so that a changed rule or
// policy takes effect with the next request.
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

	"eco2/rehearsal/cloud/aws"
)

// pollInterval is the interval at which the account is checked for changes.
const pollInterval = time.Second

// VPC runs the load balancers of a VPC.
type VPC struct {
	Account *aws.Account
	ID      string
	// Issue issues a server certificate for names, as an authority does.
	Issue func(names ...string) (tls.Certificate, error)
	// AddAddress adds an address to this host, and RemoveAddress removes it.
	AddAddress, RemoveAddress func(netip.Addr) error
	// MembersChanged is called when load balancers' addresses have joined or left security groups. It is called again
	// if it fails.
	MembersChanged func(ctx context.Context) error
	Log            *log.Logger

	// members are the interfaces at the last successful call of MembersChanged, running the load balancers by ARN.
	members []aws.Interface
	running map[string]*balancer
}

// Run makes the load balancers follow the account until the context is done.
func (v *VPC) Run(ctx context.Context) error {
	defer v.close()
	said := ""
	for {
		now := ""
		if err := v.reconcile(ctx); err != nil && ctx.Err() == nil {
			now = err.Error()
		}
		if now != "" && now != said {
			v.Log.Print(now)
		}
		said = now
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
	}
}

func (v *VPC) close() {
	for _, b := range v.running {
		_ = b.close() // the addresses are removed with this process's network namespace anyway
	}
}

// reconcile makes the running load balancers match the account. An error of one load balancer does not stop the others.
func (v *VPC) reconcile(ctx context.Context) error {
	w, err := v.desired()
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
		if err := v.MembersChanged(ctx); err != nil {
			return errors.Join(append(errs, fmt.Errorf("updating the machines for added or removed load balancers: %w", err))...)
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
		if err := b.reconcile(now); err != nil {
			errs = append(errs, fmt.Errorf("running load balancer %s: %w", now.Name, err))
		}
	}
	return errors.Join(errs...)
}

// desiredState is what should run, according to the account.
type desiredState struct {
	members   []aws.Interface
	balancers map[string]*settings
}

func (v *VPC) desired() (w desiredState, err error) {
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

// settings is the state of a load balancer in the account.
type settings struct {
	aws.LoadBalancer
	// interfaces are the load balancer's, by address; targets are the running ones of each target group, by the group's
	// ARN.
	interfaces   map[netip.Addr]aws.Interface
	targets      map[string][]target
	certificates []aws.Certificate
	// issued are the certificates that it can serve; the first one is the default.
	issued []tls.Certificate
}
