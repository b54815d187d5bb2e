package kubernetes

import (
	"slices"
	"strings"
)

// kindInfo is what the provider knows of an object kind without asking a cluster.
type kindInfo struct {
	// cluster: the kind belongs to the whole cluster and not to a namespace.
	cluster bool
	// fields are the properties beside apiVersion, kind and metadata.
	fields []string
	// immutable are the paths whose change the API server refuses, so that the provider replaces.
	immutable []string
}

func namespaced(fields ...string) kindInfo { return kindInfo{fields: fields} }
func clusterWide(fields ...string) kindInfo {
	return kindInfo{fields: fields, cluster: true}
}
func (k kindInfo) fixed(paths ...string) kindInfo { k.immutable = paths; return k }

// builtin lists the kinds that every cluster has, of those that a platform layer could declare, by
// apiVersion. The fields and the immutable paths are those of the Kubernetes API reference.
var builtin = map[string]map[string]kindInfo{
	"v1": {
		"Namespace": clusterWide("spec"),
		// Data counts as immutable unless enableConfigMapMutable or enableSecretMutable is set: the
		// provider's way to restart the pods that read it.
		"ConfigMap":             namespaced("data", "binaryData", "immutable").fixed("data", "binaryData"),
		"Secret":                namespaced("data", "stringData", "type", "immutable").fixed("type", "data", "stringData"),
		"Service":               namespaced("spec"),
		"ServiceAccount":        namespaced("automountServiceAccountToken", "imagePullSecrets", "secrets"),
		"PersistentVolume":      clusterWide("spec").fixed("spec.csi", "spec.hostPath", "spec.local", "spec.nfs"),
		"PersistentVolumeClaim": namespaced("spec").fixed("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName", "spec.volumeMode"),
		"LimitRange":            namespaced("spec"),
		"ResourceQuota":         namespaced("spec"),
		"Pod":                   namespaced("spec").fixed("spec"),
		"Event":                 namespaced("involvedObject", "reason", "message", "type"),
	},
	"apps/v1": {
		"Deployment":  namespaced("spec").fixed("spec.selector"),
		"DaemonSet":   namespaced("spec").fixed("spec.selector"),
		"StatefulSet": namespaced("spec").fixed("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
	},
	"batch/v1": {
		"Job":     namespaced("spec").fixed("spec.selector", "spec.template", "spec.completions"),
		"CronJob": namespaced("spec"),
	},
	"autoscaling/v2": {"HorizontalPodAutoscaler": namespaced("spec")},
	"policy/v1":      {"PodDisruptionBudget": namespaced("spec")},
	"networking.k8s.io/v1": {
		"NetworkPolicy": namespaced("spec"),
		"Ingress":       namespaced("spec"),
		"IngressClass":  clusterWide("spec").fixed("spec.controller"),
	},
	"storage.k8s.io/v1": {
		"StorageClass": clusterWide("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode",
			"allowVolumeExpansion", "mountOptions", "allowedTopologies").
			fixed("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
		"CSIDriver": clusterWide("spec").fixed("spec"),
	},
	"rbac.authorization.k8s.io/v1": {
		"Role":               namespaced("rules"),
		"ClusterRole":        clusterWide("rules", "aggregationRule"),
		"RoleBinding":        namespaced("roleRef", "subjects").fixed("roleRef"),
		"ClusterRoleBinding": clusterWide("roleRef", "subjects").fixed("roleRef"),
	},
	"scheduling.k8s.io/v1": {
		"PriorityClass": clusterWide("value", "description", "globalDefault", "preemptionPolicy").fixed("value", "preemptionPolicy"),
	},
	"apiextensions.k8s.io/v1": {"CustomResourceDefinition": clusterWide("spec").fixed("spec.group", "spec.scope")},
	"admissionregistration.k8s.io/v1": {
		"ValidatingWebhookConfiguration": clusterWide("webhooks"),
		"MutatingWebhookConfiguration":   clusterWide("webhooks"),
	},
}

// API is one kind that a cluster serves.
type API struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// ClusterWide: its objects are in no namespace.
	ClusterWide bool `json:"clusterWide,omitempty"`
}

// Bundles are the kinds that come with a bundle of custom resource definitions, by the bundle's name.
// A chart's bundle has the chart's name. The lists are those of the versions the project pins.
var Bundles = map[string][]API{
	"calico": concat(
		apis("crd.projectcalico.org/v1", "NetworkPolicy", "NetworkSet"),
		clusterApis("crd.projectcalico.org/v1", "BGPConfiguration", "BGPFilter", "BGPPeer", "BlockAffinity",
			"CalicoNodeStatus", "ClusterInformation", "FelixConfiguration", "GlobalNetworkPolicy", "GlobalNetworkSet",
			"HostEndpoint", "IPAMBlock", "IPAMConfig", "IPAMHandle", "IPPool", "IPReservation",
			"KubeControllersConfiguration", "StagedGlobalNetworkPolicy", "Tier"),
	),
	"argocd": apis("argoproj.io/v1alpha1", "Application", "ApplicationSet", "AppProject"),
	"aws-load-balancer-controller": concat(
		apis("elbv2.k8s.aws/v1beta1", "TargetGroupBinding"),
		clusterApis("elbv2.k8s.aws/v1beta1", "IngressClassParams"),
	),
	"external-secrets": concat(
		apis("external-secrets.io/v1", "ExternalSecret", "SecretStore"),
		clusterApis("external-secrets.io/v1", "ClusterExternalSecret", "ClusterSecretStore"),
		apis("external-secrets.io/v1alpha1", "PushSecret"),
		clusterApis("external-secrets.io/v1alpha1", "ClusterPushSecret"),
		apis("generators.external-secrets.io/v1alpha1", "ACRAccessToken", "ECRAuthorizationToken", "Fake",
			"GCRAccessToken", "GithubAccessToken", "Grafana", "MFA", "Password", "QuayAccessToken", "SSHKey",
			"STSSessionToken", "UUID", "VaultDynamicSecret", "Webhook"),
		clusterApis("generators.external-secrets.io/v1alpha1", "ClusterGenerator"),
	),
	"kube-prometheus-stack": concat(
		apis("monitoring.coreos.com/v1", "Alertmanager", "PodMonitor", "Probe", "Prometheus", "PrometheusRule",
			"ServiceMonitor", "ThanosRuler"),
		apis("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", "PrometheusAgent", "ScrapeConfig"),
	),
	"redis-operator":            apis("redis.redis.opstreelabs.in/v1beta2", "Redis", "RedisCluster", "RedisReplication", "RedisSentinel"),
	"rabbitmq-cluster-operator": apis("rabbitmq.com/v1beta1", "RabbitmqCluster"),
}

func apis(apiVersion string, kinds ...string) []API {
	out := make([]API, len(kinds))
	for i, kind := range kinds {
		out[i] = API{APIVersion: apiVersion, Kind: kind}
	}
	return out
}

func clusterApis(apiVersion string, kinds ...string) []API {
	out := apis(apiVersion, kinds...)
	for i := range out {
		out[i].ClusterWide = true
	}
	return out
}

func concat(lists ...[]API) []API { return slices.Concat(lists...) }

// Builtin finds a kind that every cluster serves.
func Builtin(apiVersion, kind string) (API, bool) {
	info, ok := builtin[apiVersion][kind]
	return API{APIVersion: apiVersion, Kind: kind, ClusterWide: info.cluster}, ok
}

// known finds what is known of a kind without a cluster; ok is false for the kind of a custom resource
// definition that is in no bundle.
func known(apiVersion, kind string) (info kindInfo, custom, ok bool) {
	if info, ok := builtin[apiVersion][kind]; ok {
		return info, false, true
	}
	for _, bundle := range Bundles {
		for _, api := range bundle {
			if api.APIVersion == apiVersion && api.Kind == kind {
				return kindInfo{cluster: api.ClusterWide}, true, true
			}
		}
	}
	return kindInfo{}, true, false
}

// parseType takes a type token apart: kubernetes:networking.k8s.io/v1:Ingress, or kubernetes:core/v1:Secret
// for the core group. ok is false for what is no object kind that the model knows.
func parseType(typ string) (apiVersion, kind string, ok bool) {
	parts := strings.Split(typ, ":")
	if len(parts) != 3 || parts[0] != "kubernetes" {
		return "", "", false
	}
	apiVersion, kind = strings.TrimPrefix(parts[1], "core/"), parts[2]
	if kinds, standard := builtin[apiVersion]; standard {
		_, ok = kinds[kind]
		return apiVersion, kind, ok
	}
	group, version, found := strings.Cut(apiVersion, "/")
	// A custom group always has a dot. Patch and List resources are the SDK's own, not the cluster's.
	ok = found && version != "" && strings.Contains(group, ".") && group != "helm.sh" && group != "kustomize.pulumi.com" &&
		!strings.HasSuffix(kind, "Patch") && !strings.HasSuffix(kind, "List")
	return apiVersion, kind, ok
}
