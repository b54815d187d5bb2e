package main

import (
	"context"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/standin/certificate"
	"eco2/rehearsal/standin/secrets"
)

func externalSecrets() *cobra.Command {
	return &cobra.Command{
		Use: "external-secrets", Short: "Copy SSM parameters into Secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return secrets.Controller(cmd.Context()) },
	}
}

func externalSecretsWebhook() *cobra.Command {
	return inNamespace("external-secrets-webhook", "Reject stores and secrets that external-secrets does not support", secrets.Webhook)
}

func externalSecretsCertController() *cobra.Command {
	return inNamespace("external-secrets-cert-controller", "Create the webhook's certificate", secrets.Certificates)
}

func inNamespace(use, short string, run func(ctx context.Context, namespace string) error) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), namespace) },
	}
	cmd.Flags().StringVar(&namespace, "namespace", "", "the namespace of the webhook")
	return cmd
}

// webhookCertgen returns the command that the hook jobs of kube-prometheus-stack run before and after an install.
func webhookCertgen() *cobra.Command {
	// The keys of the Secret that the chart's operator mounts.
	secret := certificate.Secret{Authority: "ca", Certificate: "cert", Key: "key"}
	var webhooks string
	run := func(use, short string, run func(context.Context, client.Client) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := certificate.Connect()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cluster)
		}}
	}
	create := run("create", "Create the certificate if there is none", func(ctx context.Context, cluster client.Client) error {
		_, err := secret.Ensure(ctx, cluster)
		return err
	})
	create.Flags().StringSliceVar(&secret.Names, "host", nil, "the names that the certificate is for")
	patch := run("patch", "Set the CA bundle in the webhook configurations", func(ctx context.Context, cluster client.Client) error {
		return secret.Patch(ctx, cluster, webhooks)
	})
	patch.Flags().StringVar(&webhooks, "webhook-name", "", "the name of both configurations")
	root := &cobra.Command{Use: "webhook-certgen", Short: "Create a certificate for a chart's webhooks"}
	root.PersistentFlags().StringVar(&secret.Namespace, "namespace", "", "the namespace of the Secret")
	root.PersistentFlags().StringVar(&secret.Name, "secret-name", "", "the name of the certificate's Secret")
	root.AddCommand(create, patch)
	return root
}
