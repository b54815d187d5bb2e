package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// secretStoreName is the store that the workloads' ExternalSecrets refer to.
const secretStoreName = "aws-ssm"

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
		},
	}
}

// secretStore reads the stack's parameters with the node role: it holds no key.
func (p *Platform) secretStore(ctx *pulumi.Context, operator pulumi.Resource) (pulumi.Resource, error) {
	const apiVersion, kind = "external-secrets.io/v1", "ClusterSecretStore"
	spec := pulumi.Map{"provider": pulumi.Map{"aws": pulumi.Map{
		"service": pulumi.String("ParameterStore"),
		"region":  pulumi.String(p.config.Region),
	}}}
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

// grafanaSecret brings Grafana's password from SSM.
func (p *Platform) grafanaSecret(ctx *pulumi.Context, store, namespace pulumi.Resource) (pulumi.Resource, error) {
	secret, err := apiextensions.NewCustomResource(ctx, grafanaAdmin, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("external-secrets.io/v1"),
		Kind:       pulumi.String("ExternalSecret"),
		Metadata:   metav1.ObjectMetaArgs{Name: pulumi.String(grafanaAdmin), Namespace: pulumi.String(monitoring)},
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{
			"refreshInterval": pulumi.String("1h"),
			"secretStoreRef":  pulumi.Map{"kind": pulumi.String("ClusterSecretStore"), "name": pulumi.String(secretStoreName)},
			"target": pulumi.Map{
				"name": pulumi.String(grafanaAdmin),
				"template": pulumi.Map{"data": pulumi.Map{
					"admin-user":     pulumi.String("admin"),
					"admin-password": pulumi.String("{{ .password }}"),
				}},
			},
			"data": pulumi.Array{pulumi.Map{
				"secretKey": pulumi.String("password"),
				"remoteRef": pulumi.Map{"key": pulumi.String(p.config.Prefix + "/platform/grafana-admin-password")},
			}},
		}},
	}, p.with(store, namespace)...)
	if err != nil {
		return nil, fmt.Errorf("creating external secret %s: %w", grafanaAdmin, err)
	}
	p.made = append(p.made, secret)
	return secret, nil
}
