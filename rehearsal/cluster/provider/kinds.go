package provider

import (
	"slices"
	"strings"
)

// kindInfo describes an object kind as far as the provider knows it without asking a cluster.
type kindInfo struct {
	// clusterWide says that the kind is cluster-scoped, not namespaced.
	clusterWide bool
	// fields lists the properties other than apiVersion, kind and metadata.
	fields []string
	// immutable lists the paths whose change the API server refuses. The provider replaces the object instead.
	immutable []string
}

func namespaced(fields ...string) kindInfo { return kindInfo{fields: fields} }
func clusterWide(fields ...string) kindInfo {
	return kindInfo{fields: fields, clusterWide: true}
}
func (k kindInfo) withImmutable(paths ...string) kindInfo { k.immutable = paths; return k }

// builtin lists, by apiVersion, those built-in kinds that a program may want to declare for a platform. The fields
// and the immutable paths are those of the Kubernetes API reference.
var builtin = map[string]map[string]kindInfo{
	"v1": {
		"Namespace": clusterWide("spec"),
		// Without enableConfigMapMutable or enableSecretMutable a change of the data replaces the object,
		// which is how pulumi-kubernetes makes the pods that read it restart.
		"ConfigMap":             namespaced("data", "binaryData", "immutable").withImmutable("data", "binaryData"),
		"Secret":                namespaced("data", "stringData", "type", "immutable").withImmutable("type", "data", "stringData"),
		"Service":               namespaced("spec"),
		"ServiceAccount":        namespaced("automountServiceAccountToken", "imagePullSecrets", "secrets"),
		"PersistentVolume":      clusterWide("spec").withImmutable("spec.csi", "spec.hostPath", "spec.local", "spec.nfs"),
		"PersistentVolumeClaim": namespaced("spec").withImmutable("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName", "spec.volumeMode"),
		"LimitRange":            namespaced("spec"),
		"ResourceQuota":         namespaced("spec"),
		"Pod":                   namespaced("spec").withImmutable("spec"),
		"Event":                 namespaced("involvedObject", "reason", "message", "type"),
	},
	"apps/v1": {
		"Deployment":  namespaced("spec").withImmutable("spec.selector"),
		"DaemonSet":   namespaced("spec").withImmutable("spec.selector"),
		"StatefulSet": namespaced("spec").withImmutable("spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates"),
	},
	"batch/v1": {
		"Job":     namespaced("spec").withImmutable("spec.selector", "spec.template", "spec.completions"),
		"CronJob": namespaced("spec"),
	},
	"autoscaling/v2": {"HorizontalPodAutoscaler": namespaced("spec")},
	"policy/v1":      {"PodDisruptionBudget": namespaced("spec")},
	"networking.k8s.io/v1": {
		"NetworkPolicy": namespaced("spec"),
		"Ingress":       namespaced("spec"),
		"IngressClass":  clusterWide("spec").withImmutable("spec.controller"),
	},
	"storage.k8s.io/v1": {
		"StorageClass": clusterWide("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode",
			"allowVolumeExpansion", "mountOptions", "allowedTopologies").
			withImmutable("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
		"CSIDriver": clusterWide("spec").withImmutable("spec"),
	},
	"rbac.authorization.k8s.io/v1": {
		"Role":               namespaced("rules"),
		"ClusterRole":        clusterWide("rules", "aggregationRule"),
		"RoleBinding":        namespaced("roleRef", "subjects").withImmutable("roleRef"),
		"ClusterRoleBinding": clusterWide("roleRef", "subjects").withImmutable("roleRef"),
	},
	"scheduling.k8s.io/v1": {
		"PriorityClass": clusterWide("value", "description", "globalDefault", "preemptionPolicy").withImmutable("value", "preemptionPolicy"),
	},
	"apiextensions.k8s.io/v1": {"CustomResourceDefinition": clusterWide("spec").withImmutable("spec.group", "spec.scope")},
	"admissionregistration.k8s.io/v1": {
		"ValidatingWebhookConfiguration": clusterWide("webhooks"),
		"MutatingWebhookConfiguration":   clusterWide("webhooks"),

		"ValidatingAdmissionPolicy":        clusterWide("spec"),
		"ValidatingAdmissionPolicyBinding": clusterWide("spec"),
	},
}

// API is one kind that a cluster serves.
type API struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// ClusterWide says that the kind is cluster-scoped, not namespaced.
	ClusterWide bool `json:"clusterWide,omitempty"`
}

// Bundles lists the kinds of each set of custom resource definitions that is installed as a whole. The key is the
// chart's name, or "calico" or "argocd". The lists are those of the versions that the project pins.
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

// Builtin returns the API of a built-in kind. ok is false if the kind is not one.
func Builtin(apiVersion, kind string) (API, bool) {
	info, ok := builtin[apiVersion][kind]
	return API{APIVersion: apiVersion, Kind: kind, ClusterWide: info.clusterWide}, ok
}

// lookupKind returns what is known about a kind without asking a cluster. custom says that it is not built in. ok is
// false for a custom kind that is in none of Bundles.
func lookupKind(apiVersion, kind string) (info kindInfo, custom, ok bool) {
	if info, ok := builtin[apiVersion][kind]; ok {
		return info, false, true
	}
	for _, bundle := range Bundles {
		for _, api := range bundle {
			if api.APIVersion == apiVersion && api.Kind == kind {
				return kindInfo{clusterWide: api.ClusterWide}, true, true
			}
		}
	}
	return kindInfo{}, true, false
}

// parseType splits a type token such as kubernetes:networking.k8s.io/v1:Ingress, or kubernetes:core/v1:Secret for
// the core group. ok is false if the token is not that of an object, or of an unknown kind in a built-in group.
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
	// A custom group always contains a dot. Patch and List resources exist in the SDK only, not in the cluster.
	ok = found && version != "" && strings.Contains(group, ".") && group != "helm.sh" && group != "kustomize.pulumi.com" &&
		!strings.HasSuffix(kind, "Patch") && !strings.HasSuffix(kind, "List")
	return apiVersion, kind, ok
}
