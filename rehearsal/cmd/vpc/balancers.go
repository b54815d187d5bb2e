package main

import (
	"context"
	"log"
	"os"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/balancer"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/supply/authority"
)

// serveBalancers runs the load balancers of a VPC until the context is cancelled.
func serveBalancers(ctx context.Context, state, vpc string, issuer *authority.Authority) error {
	card := balancer.NetworkInterface("eth0")
	v := balancer.VPC{
		Account: aws.Open(state), ID: vpc, Issue: issuer.Issue, AddAddress: card.AddAddress, RemoveAddress: card.RemoveAddress,
		MembersChanged: func(ctx context.Context) error { return docker.UpdateFirewalls(ctx, state) },
		Log:            log.New(os.Stderr, "", log.LstdFlags),
	}
	return v.Run(ctx)
}
