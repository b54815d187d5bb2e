// Command calico is what the stand-in for Calico's images runs; package calico has the manifest that
// starts it.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"eco2/rehearsal/calico/component"
)

func main() {
	if err := run(); err != nil && !errors.Is(err, context.Canceled) {
		slog.Error("giving up", "error", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "calico", Short: "A small VXLAN network in the place of Calico's",
		SilenceUsage: true, SilenceErrors: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	for _, c := range []struct {
		use, short string
		run        func(context.Context) error
	}{
		{"install-cni", "Write the node's CNI configuration, once", component.InstallCNI},
		{"node", "Lead to the pods of all other nodes", component.Node},
		{"kube-controllers", "Watch the cluster's nodes", component.KubeControllers},
	} {
		root.AddCommand(&cobra.Command{
			Use: c.use, Short: c.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
		})
	}
	return root.ExecuteContext(ctx)
}
