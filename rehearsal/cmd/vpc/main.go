// Command vpc serves what a VPC of the rehearsal has at its second address: the metadata service, a resolver, load
// balancers, and the replacement for the internet that machines and pods have: the mirror, AWS's API and a git server.
// It runs in a container on the VPC's network.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/metadata"
	"eco2/rehearsal/supply/authority"
	"eco2/rehearsal/supply/gitserver"
)

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var state, vpc, authorityDir string
	var outside internet
	cmd := &cobra.Command{
		Use:           "vpc",
		Short:         "Serve metadata, names, the mirror, AWS's API and git repositories to the machines of a VPC",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			outside.repositories = filepath.Join(state, gitserver.Directory)
			return serve(cmd.Context(), state, vpc, authorityDir, outside)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "the rehearsal's state directory, which has the account")
	flags.StringVar(&vpc, "vpc", "", "the VPC whose machines are served")
	flags.StringVar(&authorityDir, "authority", "", "the directory of the authority that issues certificates")
	flags.StringVar(&outside.address, "internet", "", "the address of everything outside the VPC; without it there is no internet")
	flags.StringVar(&outside.mirror, "mirror", "", "the directory that the mirror serves")
	return cmd
}

func serve(ctx context.Context, state, vpc, authorityDir string, outside internet) error {
	account := aws.Open(state)
	issuer, err := authority.Load(authorityDir)
	if err != nil {
		return err
	}
	outside.authority = issuer
	if err := takeAddress(metadata.Address); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	listener, err := net.Listen("tcp4", net.JoinHostPort(metadata.Address, "80"))
	if err != nil {
		return fmt.Errorf("listening for metadata: %w", err)
	}
	group.Go(func() error { return metadata.New(account, vpc).Serve(ctx, listener) })
	names := names{account: account, vpc: vpc}
	if outside.address != "" {
		if err := takeAddress(outside.address); err != nil {
			return err
		}
		if err := outside.serve(ctx, group, account, vpc); err != nil {
			return err
		}
		names.internet = net.ParseIP(outside.address)
	}
	group.Go(func() error { return serveBalancers(ctx, state, vpc, issuer) })
	// Last, because the driver takes an answer of the resolver as a sign that all services run.
	group.Go(func() error { return names.serve(ctx) })
	return group.Wait()
}

// takeAddress adds an address to the container's network interface.
func takeAddress(address string) error {
	ip := net.ParseIP(address)
	link, err := netlink.LinkByName("eth0")
	if err == nil {
		err = netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}})
	}
	if err != nil {
		return fmt.Errorf("taking the address %q: %w", address, err)
	}
	return nil
}
