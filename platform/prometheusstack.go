package platform

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
)

// prometheusStack monitors the cluster: Prometheus, Alertmanager and Grafana. It runs on the node that the node table
// reserves for it.
type prometheusStack struct {
	pulumi.ResourceState
	component.Children
}

// prometheusStackArgs holds the inputs of prometheusStack.
type prometheusStackArgs struct {
	*shared
	Namespaces *namespaces
	// Secrets copies Grafana's password into the cluster.
	Secrets *externalSecrets
	// Volumes creates Prometheus' volumes.
	Volumes *ebsCSIDriver
}

// newPrometheusStack declares the stack.
func newPrometheusStack(ctx *pulumi.Context, name string, args *prometheusStackArgs, opts ...pulumi.ResourceOption) (*prometheusStack, error) {
	s := &prometheusStack{}
	if err := component.Register(ctx, "eco2:platform:PrometheusStack", name, s, opts...); err != nil {
		return nil, err
	}
	password, err := newGrafanaPassword(ctx, args, s)
	if err != nil {
		return nil, err
	}
	if _, err := args.newRelease(ctx, "kube-prometheus-stack", &releaseArgs{
		Namespace: monitoring,
		Chart:     chart{Repository: "https://prometheus-community.github.io/helm-charts", Name: "kube-prometheus-stack", Version: "88.5.3"},
		Values:    prometheusValues(args.prod(), password.version),
	}, s, args.Namespaces, args.Volumes, password.synced); err != nil {
		return nil, err
	}
	return s, ctx.RegisterResourceOutputs(s, pulumi.Map{})
}

// prometheusValues returns the values of the stack's chart. passwordVersion is the version of Grafana's password.
func prometheusValues(prod bool, passwordVersion pulumi.StringInput) values {
	// onMonitoringNode adds to the values of a component that it runs on the monitoring node. A component without it
	// would stay Pending.
	onMonitoringNode := func(v values) values {
		v["nodeSelector"] = values{"infra-type": "monitoring"}
		v["tolerations"] = []values{{"key": "domain", "operator": "Equal", "value": "observability", "effect": "NoSchedule"}}
		return v
	}
	claim := func(size string) values {
		return values{"volumeClaimTemplate": values{"spec": values{
			"storageClassName": storageClass,
			"accessModes":      []string{"ReadWriteOnce"},
			"resources":        values{"requests": values{"storage": size}},
		}}}
	}
	prometheus := onMonitoringNode(values{
		"retention": "15d",
		"replicas":  1,
		"resources": resources("500m", "1Gi", "3Gi"),
		// Use the monitors and rules of every release and workload, not only those of this release.
		"serviceMonitorSelectorNilUsesHelmValues": false,
		"podMonitorSelectorNilUsesHelmValues":     false,
		"ruleSelectorNilUsesHelmValues":           false,
		"probeSelectorNilUsesHelmValues":          false,
		"scrapeConfigSelectorNilUsesHelmValues":   false,
	})
	alertmanager := onMonitoringNode(values{"replicas": 1, "resources": resources("20m", "64Mi", "128Mi")})
	grafana := onMonitoringNode(values{
		"admin": values{"existingSecret": grafanaAdmin, "userKey": grafanaUserKey, "passwordKey": grafanaPasswordKey},
		// Grafana 13 uses 330 MiB when idle, and more while it compresses responses.
		"resources":   resources("50m", "512Mi", "1Gi"),
		"grafana.ini": values{"server": values{"enable_gzip": false}},
		// Grafana reads the password only when it starts, so a new version must restart the pod.
		"podAnnotations": values{parameterVersion: passwordVersion},
	})
	if prod {
		prometheus["retention"] = "30d"
		prometheus["retentionSize"] = "180GB"
		prometheus["storageSpec"] = claim("200Gi")
		alertmanager["storage"] = claim("50Gi")
		grafana["persistence"] = values{"enabled": true, "storageClassName": storageClass, "size": "10Gi"}
		// The volume can be attached to only one pod at a time.
		grafana["deploymentStrategy"] = values{"type": "Recreate"}
	}
	off := values{"enabled": false}
	return values{
		"crds":         off,
		"prometheus":   values{"prometheusSpec": prometheus},
		"alertmanager": values{"alertmanagerSpec": alertmanager},
		"prometheusOperator": onMonitoringNode(values{
			"resources": resources("50m", "96Mi", "192Mi"),
			// The jobs that create the webhook's certificate must be schedulable too, or the installation hangs.
			"admissionWebhooks": values{"patch": onMonitoringNode(values{})},
		}),
		"grafana":            grafana,
		"kube-state-metrics": onMonitoringNode(values{"resources": resources("20m", "64Mi", "192Mi")}),
		// kubeadm binds the metrics of these components to the loopback address, and the program leaves it so: on any
		// other address they would be accessible from the whole node network. If they were monitored, they would
		// permanently be reported as down.
		"kubeControllerManager": off,
		"kubeScheduler":         off,
		"kubeEtcd":              off,
		"kubeProxy":             off,
		"defaultRules": values{"rules": values{
			"etcd": false, "kubeProxy": false, "kubeControllerManager": false,
			"kubeSchedulerAlerting": false, "kubeSchedulerRecording": false,
		}},
	}
}
