package main

import (
	"context"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"eco2/rehearsal/incluster/certificate"
	"eco2/rehearsal/incluster/secrets"
)

func externalSecrets() *cobra.Command {
	return &cobra.Command{
		Use: "external-secrets", Short: "Copy SSM parameters into Secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return secrets.Controller(cmd.Context()) },
	}
}

func externalSecretsWebhook() *cobra.Command {
	return inNamespace("external-secrets-webhook", "Refuse stores and secrets that external-secrets would not understand", secrets.Webhook)
}

func externalSecretsCertController() *cobra.Command {
	return inNamespace("external-secrets-cert-controller", "Give the webhook its certificate", secrets.Certificates)
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

// webhookCertgen is what the jobs around an install of kube-prometheus-stack run.
func webhookCertgen() *cobra.Command {
	// The keys by which the chart's operator mounts them.
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
	create := run("create", "Make the certificate, where there is none", func(ctx context.Context, cluster client.Client) error {
		_, err := secret.Ensure(ctx, cluster)
		return err
	})
	create.Flags().StringSliceVar(&secret.Names, "host", nil, "what the certificate is for")
	patch := run("patch", "Tell the API server whom to believe", func(ctx context.Context, cluster client.Client) error {
		return secret.Patch(ctx, cluster, webhooks)
	})
	patch.Flags().StringVar(&webhooks, "webhook-name", "", "the name of both configurations")
	root := &cobra.Command{Use: "webhook-certgen", Short: "Give a chart's webhooks a certificate"}
	root.PersistentFlags().StringVar(&secret.Namespace, "namespace", "", "the namespace of the Secret")
	root.PersistentFlags().StringVar(&secret.Name, "secret-name", "", "the Secret that the certificate is in")
	root.AddCommand(create, patch)
	return root
}
