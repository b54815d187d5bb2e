package platform

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/cluster"
	"eco2/component"
	"eco2/infra"
)

const (
	// grafanaAdmin is the name of the Secret with Grafana's first user and of the ExternalSecret that fills it. The
	// Secret's keys follow.
	grafanaAdmin       = "grafana-admin"
	grafanaUserKey     = "admin-user"
	grafanaPasswordKey = "admin-password"
	// parameterVersion is the annotation that holds the version of the SSM parameter which a Secret or a pod contains.
	parameterVersion = "eco2.io/parameter-version"
)

// grafanaPassword is Grafana's password in the cluster.
type grafanaPassword struct {
	// version is the version of the SSM parameter, which changes with the password.
	version pulumi.StringOutput
	// synced is the command that waits until the Secret contains that version.
	synced pulumi.Resource
}

// newGrafanaPassword declares the ExternalSecret that copies Grafana's password from SSM, and a command that waits until
// the Secret contains it. The ExternalSecret names the parameter's version: so a new password changes the
// ExternalSecret, and External Secrets reacts to that at once.
func newGrafanaPassword(ctx *pulumi.Context, args *prometheusStackArgs, parent component.Component) (*grafanaPassword, error) {
	version := pulumi.Sprintf("%d", args.infra.Parameters.Version(infra.GrafanaPassword))
	secret, err := apiextensions.NewCustomResource(ctx, grafanaAdmin, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String(externalSecretsAPI),
		Kind:       pulumi.String("ExternalSecret"),
		Metadata:   metav1.ObjectMetaArgs{Name: pulumi.String(grafanaAdmin), Namespace: pulumi.String(monitoring)},
		OtherFields: kubernetes.UntypedArgs{"spec": values{
			"refreshInterval": "1h",
			"secretStoreRef":  values{"kind": secretStoreKind, "name": secretStoreName},
			"target": values{
				"name": grafanaAdmin,
				"template": values{
					"metadata": values{"annotations": values{parameterVersion: version}},
					"data":     values{grafanaUserKey: "admin", grafanaPasswordKey: "{{ .password }}"},
				},
			},
			"data": []values{{
				"secretKey": "password",
				"remoteRef": values{"key": args.config.ParameterPrefix + "/" + infra.GrafanaPassword, "version": version},
			}},
		}.input()},
	}, args.object(parent, args.Secrets, args.Namespaces))
	if err != nil {
		return nil, fmt.Errorf("creating external secret %s: %w", grafanaAdmin, err)
	}
	synced, err := args.cluster.NewCommand(ctx, grafanaAdmin+"-synced", &cluster.CommandArgs{
		Create: cluster.Script{Name: "secret", Args: cluster.Arguments{}.
			Flag("namespace", pulumi.String(monitoring)).
			Flag("name", pulumi.String(grafanaAdmin)).
			Flag("version", version)},
		Minutes: 5,
	}, component.Child(parent), component.DependsOn(secret))
	if err != nil {
		return nil, fmt.Errorf("waiting for secret %s: %w", grafanaAdmin, err)
	}
	return &grafanaPassword{version: version, synced: synced}, nil
}
