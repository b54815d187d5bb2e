// Command services is what a VPC of the rehearsal has at its second address: the metadata service, a resolver and
// the mirror, which is all the internet that the machines have. It runs in a container on the VPC's network.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/imds"
	"eco2/rehearsal/mirror/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var state, vpc string
	var mirrored mirrorOptions
	cmd := &cobra.Command{
		Use:           "services",
		Short:         "Serve metadata, names and the mirror to the machines of a VPC",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), aws.Open(state), vpc, mirrored)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&state, "state", "", "the rehearsal's state directory, in which the account is")
	flags.StringVar(&vpc, "vpc", "", "the VPC whose machines are served")
	flags.StringVar(&mirrored.dir, "mirror", "", "the directory that the mirror serves; without it there is no mirror")
	flags.StringVar(&mirrored.address, "mirror-address", "", "where the mirror answers")
	return cmd
}

type mirrorOptions struct{ dir, address string }

func serve(ctx context.Context, account *aws.Account, vpc string, mirrored mirrorOptions) error {
	if err := takeAddress(imds.Address); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	metadata, err := net.Listen("tcp4", net.JoinHostPort(imds.Address, "80"))
	if err != nil {
		return fmt.Errorf("listening for metadata: %w", err)
	}
	group.Go(func() error { return imds.New(account, vpc).Serve(ctx, metadata) })
	if mirrored.dir != "" {
		if err := takeAddress(mirrored.address); err != nil {
			return err
		}
		listener, err := net.Listen("tcp4", net.JoinHostPort(mirrored.address, "80"))
		if err != nil {
			return fmt.Errorf("listening for the mirror: %w", err)
		}
		group.Go(func() error { return serveHTTP(ctx, listener, server.Handler(mirrored.dir)) })
	}
	// Last, as the driver takes an answer here for one of all.
	group.Go(func() error { return serveNames(ctx, account, vpc) })
	return group.Wait()
}

func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })() // downloads are begun again elsewhere
	if err := web.Serve(listener); ctx.Err() == nil {
		return fmt.Errorf("serving the mirror: %w", err)
	}
	return nil
}

// takeAddress gives the container's network card an address besides its own.
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
