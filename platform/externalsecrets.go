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

// secretStoreName is the store that the workloads' ExternalSecrets refer to.
const secretStoreName = "aws-ssm"

// parameterVersion is the annotation that says which version of a parameter a Secret or a pod has.
const parameterVersion = "eco2.io/parameter-version"

// externalSecrets copies SSM parameters into Secrets.
func (p *Platform) externalSecrets() Chart {
	selector, tolerations := onControlPlane()
	return Chart{
		Release: "external-secrets", Namespace: platformSystem,
		Repository: "https://charts.external-secrets.io", Name: "external-secrets", Version: "2.9.0",
		Values: pulumi.Map{
			"installCRDs": pulumi.Bool(false),
			// For its three Deployments at once.
			"global":    pulumi.Map{"nodeSelector": selector, "tolerations": tolerations},
			"resources": resources("50m", "128Mi", "256Mi"),
			// The store's credentials are the node role's. With this right it could act as any service account.
			"rbac": pulumi.Map{"serviceAccountTokenCreate": pulumi.Bool(false)},
		},
	}
}

// secretStore reads the stack's parameters with the node role: it holds no key. It serves Grafana's namespace
// and the workloads'; an ExternalSecret in any other is refused.
func (p *Platform) secretStore(ctx *pulumi.Context, operator pulumi.Resource) (pulumi.Resource, error) {
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
	webhook, err := p.webhook(ctx, "external-secrets", pulumi.Map{
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
	}, p.with(webhook)...)
	if err != nil {
		return nil, fmt.Errorf("creating secret store %s: %w", secretStoreName, err)
	}
	p.made = append(p.made, store)
	return store, nil
}

// grafanaPasswordVersion changes with Grafana's password.
func (p *Platform) grafanaPasswordVersion() pulumi.StringOutput {
	return pulumi.Sprintf("%d", p.infra.Parameters.Version(infra.GrafanaPassword))
}

// grafanaSecret brings Grafana's password from SSM, and waits until it is in its Secret. It asks for the
// parameter's version: a new password is a change of the ExternalSecret, which External Secrets follows at once.
func (p *Platform) grafanaSecret(ctx *pulumi.Context, store, namespace pulumi.Resource) (pulumi.Resource, error) {
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
				"remoteRef": pulumi.Map{"key": pulumi.String(p.config.Prefix + "/" + infra.GrafanaPassword), "version": version},
			}},
		}},
	}, p.with(store, namespace)...)
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
	p.made = append(p.made, secret, synced)
	return synced, nil
}
