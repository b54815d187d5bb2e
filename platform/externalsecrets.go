package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/infra"
)

// secretStoreName is the name of the store to which the workloads' ExternalSecrets refer.
const secretStoreName = "aws-ssm"

// parameterVersion is the annotation that holds the version of the SSM parameter which a Secret or a pod contains.
const parameterVersion = "eco2.io/parameter-version"

// externalSecrets returns the chart of External Secrets, which copies SSM parameters into Secrets.
func (p *platform) externalSecrets() chart {
	selector, tolerations := onControlPlane()
	return chart{
		Release: "external-secrets", Namespace: platformSystem,
		Repository: "https://charts.external-secrets.io", Name: "external-secrets", Version: "2.9.0",
		Values: pulumi.Map{
			"installCRDs": pulumi.Bool(false),
			// These apply to all three Deployments of the chart.
			"global":    pulumi.Map{"nodeSelector": selector, "tolerations": tolerations},
			"resources": resources("50m", "128Mi", "256Mi"),
			// The secret store uses the credentials of the node role, so External Secrets does not need this permission.
			// With it, it could act as any service account.
			"rbac": pulumi.Map{"serviceAccountTokenCreate": pulumi.Bool(false)},
		},
	}
}

// secretStore declares the store through which External Secrets reads the stack's parameters. It uses the node role, so
// it holds no key. It serves Grafana's and the workloads' namespaces; External Secrets rejects an ExternalSecret in any
// other.
func (p *platform) secretStore(ctx *pulumi.Context, operator pulumi.Resource) (pulumi.Resource, error) {
	const apiVersion, kind = "external-secrets.io/v1", "ClusterSecretStore"
	spec := pulumi.Map{
		"provider": pulumi.Map{"aws": pulumi.Map{
			"service": pulumi.String("ParameterStore"),
			"region":  pulumi.String(p.config.Region),
		}},
		"conditions": pulumi.Array{pulumi.Map{
			"namespaces": pulumi.ToStringArray(append([]string{monitoring}, workloads()...)),
		}},
	}
	webhook, err := p.awaitWebhook(ctx, "external-secrets", pulumi.Map{
		"apiVersion": pulumi.String(apiVersion), "kind": pulumi.String(kind),
		"metadata": pulumi.Map{"name": pulumi.String(secretStoreName)}, "spec": spec,
	}, operator)
	if err != nil {
		return nil, err
	}
	store, err := apiextensions.NewCustomResource(ctx, secretStoreName, &apiextensions.CustomResourceArgs{
		ApiVersion:  pulumi.String(apiVersion),
		Kind:        pulumi.String(kind),
		Metadata:    metav1.ObjectMetaArgs{Name: pulumi.String(secretStoreName)},
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, p.objectOptions(webhook)...)
	if err != nil {
		return nil, fmt.Errorf("creating secret store %s: %w", secretStoreName, err)
	}
	p.all = append(p.all, store)
	return store, nil
}

// grafanaPasswordVersion returns the version of the parameter with Grafana's password, which changes with the password.
func (p *platform) grafanaPasswordVersion() pulumi.StringOutput {
	return pulumi.Sprintf("%d", p.infra.Parameters.Version(infra.GrafanaPassword))
}

// grafanaSecret declares the ExternalSecret that copies Grafana's password from SSM, and a command that waits until the
// Secret contains it. The ExternalSecret names the parameter's version: so a new password changes the ExternalSecret,
// and External Secrets reacts to that at once.
func (p *platform) grafanaSecret(ctx *pulumi.Context, store, namespace pulumi.Resource) (pulumi.Resource, error) {
	version := p.grafanaPasswordVersion()
	secret, err := apiextensions.NewCustomResource(ctx, grafanaAdmin, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("external-secrets.io/v1"),
		Kind:       pulumi.String("ExternalSecret"),
		Metadata:   metav1.ObjectMetaArgs{Name: pulumi.String(grafanaAdmin), Namespace: pulumi.String(monitoring)},
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{
			"refreshInterval": pulumi.String("1h"),
			"secretStoreRef":  pulumi.Map{"kind": pulumi.String("ClusterSecretStore"), "name": pulumi.String(secretStoreName)},
			"target": pulumi.Map{
				"name": pulumi.String(grafanaAdmin),
				"template": pulumi.Map{
					"metadata": pulumi.Map{"annotations": pulumi.StringMap{parameterVersion: version}},
					"data": pulumi.Map{
						"admin-user":     pulumi.String("admin"),
						"admin-password": pulumi.String("{{ .password }}"),
					},
				},
			},
			"data": pulumi.Array{pulumi.Map{
				"secretKey": pulumi.String("password"),
				"remoteRef": pulumi.Map{"key": pulumi.String(p.config.ParameterPrefix + "/" + infra.GrafanaPassword), "version": version},
			}},
		}},
	}, p.objectOptions(store, namespace)...)
	if err != nil {
		return nil, fmt.Errorf("creating external secret %s: %w", grafanaAdmin, err)
	}
	synced, err := p.cluster.Run(ctx, grafanaAdmin+"-synced", cluster.Script{
		Name: "secret", Minutes: 5,
		Args: []pulumi.StringInput{
			pulumi.String("--namespace"), pulumi.String(monitoring), pulumi.String("--name"), pulumi.String(grafanaAdmin),
			pulumi.String("--version"), version,
		},
	}, pulumi.DependsOn([]pulumi.Resource{secret}))
	if err != nil {
		return nil, fmt.Errorf("waiting for secret %s: %w", grafanaAdmin, err)
	}
	p.all = append(p.all, secret, synced)
	return synced, nil
}
