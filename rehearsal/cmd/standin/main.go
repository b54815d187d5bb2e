// Command standin contains the stand-ins for upstream's controllers, each as a subcommand. The packages below
// standin document which features of the real controllers they have.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	ctrl.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		slog.Error("exiting", "error", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "standin", Short: "Stand-ins for upstream's controllers",
		SilenceUsage: true, SilenceErrors: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(
		redisOperator(), rabbitMQOperator(), ebsCSIController(), ebsCSINode(),
		externalSecrets(), externalSecretsWebhook(), externalSecretsCertController(), webhookCertgen(),
	)
	return root
}
