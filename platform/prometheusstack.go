package platform

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// grafanaAdmin is the name of the Secret with Grafana's first user and of the ExternalSecret that fills it.
const grafanaAdmin = "grafana-admin"

// prometheusStack returns the chart that monitors the cluster: Prometheus, Alertmanager and Grafana. It runs on the
// node that the node table reserves for it.
func (p *platform) prometheusStack() chart {
	selector := pulumi.StringMap{"infra-type": pulumi.String("monitoring")}
	tolerations := pulumi.Array{pulumi.Map{
		"key": pulumi.String("domain"), "operator": pulumi.String("Equal"),
		"value": pulumi.String("observability"), "effect": pulumi.String("NoSchedule"),
	}}
	// placed adds to the values of a component that it runs on the monitoring node. A component without it would stay
	// Pending.
	placed := func(more pulumi.Map) pulumi.Map {
		out := pulumi.Map{"nodeSelector": selector, "tolerations": tolerations}
		for key, value := range more {
			out[key] = value
		}
		return out
	}
	claim := func(size string) pulumi.Map {
		return pulumi.Map{"volumeClaimTemplate": pulumi.Map{"spec": pulumi.Map{
			"storageClassName": pulumi.String("gp3"),
			"accessModes":      pulumi.ToStringArray([]string{"ReadWriteOnce"}),
			"resources":        pulumi.Map{"requests": pulumi.Map{"storage": pulumi.String(size)}},
		}}}
	}
	prometheus := placed(pulumi.Map{
		"retention": pulumi.String("15d"),
		"replicas":  pulumi.Int(1),
		"resources": resources("500m", "1Gi", "3Gi"),
		// Use the monitors and rules of every release and workload, not only those of this release.
		"serviceMonitorSelectorNilUsesHelmValues": pulumi.Bool(false),
		"podMonitorSelectorNilUsesHelmValues":     pulumi.Bool(false),
		"ruleSelectorNilUsesHelmValues":           pulumi.Bool(false),
		"probeSelectorNilUsesHelmValues":          pulumi.Bool(false),
		"scrapeConfigSelectorNilUsesHelmValues":   pulumi.Bool(false),
	})
	alertmanager := placed(pulumi.Map{"replicas": pulumi.Int(1), "resources": resources("20m", "64Mi", "128Mi")})
	grafana := placed(pulumi.Map{
		"admin": pulumi.Map{
			"existingSecret": pulumi.String(grafanaAdmin),
			"userKey":        pulumi.String("admin-user"),
			"passwordKey":    pulumi.String("admin-password"),
		},
		// Grafana 13 uses 330 MiB when idle, and more while it compresses responses.
		"resources":   resources("50m", "512Mi", "1Gi"),
		"grafana.ini": pulumi.Map{"server": pulumi.Map{"enable_gzip": pulumi.Bool(false)}},
		// Grafana reads the password only when it starts, so a new version must restart the pod.
		"podAnnotations": pulumi.StringMap{parameterVersion: p.grafanaPasswordVersion()},
	})
	if p.prod() {
		prometheus["retention"] = pulumi.String("30d")
		prometheus["retentionSize"] = pulumi.String("180GB")
		prometheus["storageSpec"] = claim("200Gi")
		alertmanager["storage"] = claim("50Gi")
		grafana["persistence"] = pulumi.Map{
			"enabled": pulumi.Bool(true), "storageClassName": pulumi.String("gp3"), "size": pulumi.String("10Gi"),
		}
		// The volume can be attached to only one pod at a time.
		grafana["deploymentStrategy"] = pulumi.Map{"type": pulumi.String("Recreate")}
	}
	off := pulumi.Map{"enabled": pulumi.Bool(false)}
	return chart{
		Release: "kube-prometheus-stack", Namespace: monitoring,
		Repository: "https://prometheus-community.github.io/helm-charts", Name: "kube-prometheus-stack", Version: "88.5.3",
		Values: pulumi.Map{
			"crds":         off,
			"prometheus":   pulumi.Map{"prometheusSpec": prometheus},
			"alertmanager": pulumi.Map{"alertmanagerSpec": alertmanager},
			"prometheusOperator": placed(pulumi.Map{
				"resources": resources("50m", "96Mi", "192Mi"),
				// The jobs that create the webhook's certificate must be schedulable too, or the installation hangs.
				"admissionWebhooks": pulumi.Map{"patch": placed(nil)},
			}),
			"grafana":            grafana,
			"kube-state-metrics": placed(pulumi.Map{"resources": resources("20m", "64Mi", "192Mi")}),
			// kubeadm binds the metrics of these components to the loopback address, and the program leaves it so: on any
			// other address they would be accessible from the whole node network. If they were monitored, they would
			// permanently be reported as down.
			"kubeControllerManager": off,
			"kubeScheduler":         off,
			"kubeEtcd":              off,
			"kubeProxy":             off,
			"defaultRules": pulumi.Map{"rules": pulumi.Map{
				"etcd": pulumi.Bool(false), "kubeProxy": pulumi.Bool(false), "kubeControllerManager": pulumi.Bool(false),
				"kubeSchedulerAlerting": pulumi.Bool(false), "kubeSchedulerRecording": pulumi.Bool(false),
			}},
		},
	}
}
