package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

const (
	externalSecretsAPI = "external-secrets.io/v1"
	secretStoreKind    = "ClusterSecretStore"
	// secretStoreName is the name of the store to which the workloads' ExternalSecrets refer.
	secretStoreName = "aws-ssm"
)

// externalSecrets is External Secrets, which copies SSM parameters into Secrets, and the store from which it reads
// them. ExternalSecrets depend on this component.
type externalSecrets struct {
	pulumi.ResourceState
	component.Children
}

// externalSecretsArgs holds the inputs of externalSecrets.
type externalSecretsArgs struct {
	*shared
	Namespaces *namespaces
}

// newExternalSecrets declares External Secrets and the store.
func newExternalSecrets(ctx *pulumi.Context, name string, args *externalSecretsArgs, opts ...pulumi.ResourceOption) (*externalSecrets, error) {
	e := &externalSecrets{}
	if err := component.Register(ctx, "eco2:platform:ExternalSecrets", name, e, opts...); err != nil {
		return nil, err
	}
	release, err := args.newRelease(ctx, "external-secrets", &releaseArgs{
		Namespace: platformSystem,
		Chart:     chart{Repository: "https://charts.external-secrets.io", Name: "external-secrets", Version: "2.9.0"},
		Values: values{
			"installCRDs": false,
			// These apply to all three Deployments of the chart.
			"global":    values{"nodeSelector": controlPlaneSelector, "tolerations": controlPlaneTolerations},
			"resources": resources("50m", "128Mi", "256Mi"),
			// The secret store uses the credentials of the control plane's role, so External Secrets does not need this
			// permission. With it, it could act as any service account.
			"rbac": values{"serviceAccountTokenCreate": false},
		},
	}, e, args.Namespaces)
	if err != nil {
		return nil, err
	}

	access, err := newParameterAccess(ctx, args.shared, e)
	if err != nil {
		return nil, err
	}

	// The store uses the control plane's role, so it holds no key. It serves Grafana's and the workloads' namespaces;
	// External Secrets rejects an ExternalSecret in any other.
	spec := values{
		"provider":   values{"aws": values{"service": "ParameterStore", "region": args.config.Region}},
		"conditions": []values{{"namespaces": append([]string{monitoring}, workloadNamespaces()...)}},
	}
	webhook, err := args.awaitWebhook(ctx, release, values{
		"apiVersion": externalSecretsAPI, "kind": secretStoreKind,
		"metadata": values{"name": secretStoreName}, "spec": spec,
	}, e)
	if err != nil {
		return nil, err
	}
	if _, err := apiextensions.NewCustomResource(ctx, secretStoreName, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String(externalSecretsAPI),
		Kind:        pulumi.String(secretStoreKind),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(secretStoreName)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec.input()},
	}, args.object(e, webhook, access)); err != nil {
		return nil, fmt.Errorf("creating secret store %s: %w", secretStoreName, err)
	}
	return e, ctx.RegisterResourceOutputs(e, pulumi.Map{})
}
