package infra

// nodeTable is the only place that defines the nodes. Instances, labels, taints, the nodes that the cluster waits for,
// the workloads' namespaces and the stack's outputs are derived from it. Each domain has machines of its own, reserved
// by a taint. The first entry must be the control plane.
//
// A stack may override the type, disk and count of each entry with eco2:nodes. Labels must have no prefix: a kubelet
// refuses to start with a label under kubernetes.io that it may not set on its own node.
var nodeTable = []NodeSpec{
	{
		Name: "k8s-master", InstanceType: "t3.xlarge", Zone: 0, DiskGB: 80,
		Labels: map[string]string{
			"role": "control-plane", "domain": "control-plane", "service": "platform-system",
			"workload": "control-plane", "tier": "platform", "phase": "0",
		},
		Taints: noSchedule("role", "control-plane"),
		Tags:   map[string]string{"Workload": "control-plane", "Domain": "control-plane", "Phase": "0"},
	},
	{
		Name: "k8s-api-auth", InstanceType: "t3.small", Zone: 0, DiskGB: 20,
		Labels: map[string]string{
			"role": "api", "domain": "auth", "service": "auth", "workload": "api", "tier": "business-logic", "phase": "1",
		},
		Taints: noSchedule("domain", "auth"),
		Tags:   map[string]string{"Workload": "api-auth", "Domain": "auth", "Phase": "1"},
	},
	{
		Name: "k8s-api-my", InstanceType: "t3.small", Zone: 1, DiskGB: 20,
		Labels: map[string]string{
			"role": "api", "domain": "my", "service": "my", "workload": "api", "tier": "business-logic", "phase": "1",
		},
		Taints: noSchedule("domain", "my"),
		Tags:   map[string]string{"Workload": "api-my", "Domain": "my", "Phase": "1"},
	},
	{
		Name: "k8s-api-scan", InstanceType: "t3.medium", Zone: 2, DiskGB: 30,
		Labels: map[string]string{
			"role": "api", "domain": "scan", "service": "scan", "workload": "api", "tier": "business-logic", "phase": "2",
		},
		Taints: noSchedule("domain", "scan"),
		Tags:   map[string]string{"Workload": "api-scan", "Domain": "scan", "Phase": "2"},
	},
	{
		Name: "k8s-api-character", InstanceType: "t3.small", Zone: 0, DiskGB: 20,
		Labels: map[string]string{
			"role": "api", "domain": "character", "service": "character",
			"workload": "api", "tier": "business-logic", "phase": "2",
		},
		Taints: noSchedule("domain", "character"),
		Tags:   map[string]string{"Workload": "api-character", "Domain": "character", "Phase": "2"},
	},
	{
		Name: "k8s-api-location", InstanceType: "t3.small", Zone: 1, DiskGB: 20,
		Labels: map[string]string{
			"role": "api", "domain": "location", "service": "location",
			"workload": "api", "tier": "business-logic", "phase": "2",
		},
		Taints: noSchedule("domain", "location"),
		Tags:   map[string]string{"Workload": "api-location", "Domain": "location", "Phase": "2"},
	},
	{
		Name: "k8s-api-info", InstanceType: "t3.small", Zone: 2, DiskGB: 20,
		Labels: map[string]string{
			"role": "api", "domain": "info", "service": "info", "workload": "api", "tier": "business-logic", "phase": "3",
		},
		Taints: noSchedule("domain", "info"),
		Tags:   map[string]string{"Workload": "api-info", "Domain": "info", "Phase": "3"},
	},
	{
		Name: "k8s-api-chat", InstanceType: "t3.medium", Zone: 0, DiskGB: 30,
		Labels: map[string]string{
			"role": "api", "domain": "chat", "service": "chat", "workload": "api", "tier": "business-logic", "phase": "3",
		},
		Taints: noSchedule("domain", "chat"),
		Tags:   map[string]string{"Workload": "api-chat", "Domain": "chat", "Phase": "3"},
	},
	{
		Name: "k8s-worker-storage", InstanceType: "t3.medium", Zone: 2, DiskGB: 40,
		Labels: map[string]string{
			"role": "worker", "domain": "worker-storage", "worker-type": "storage",
			"workload": "worker-storage", "tier": "worker", "phase": "4",
		},
		Tags: map[string]string{"Workload": "worker-storage", "Domain": "worker-storage", "Phase": "4", "Type": "io-bound"},
	},
	{
		Name: "k8s-worker-ai", InstanceType: "t3.medium", Zone: 0, DiskGB: 40,
		Labels: map[string]string{
			"role": "worker", "domain": "worker-ai", "worker-type": "ai",
			"workload": "worker-ai", "tier": "worker", "phase": "4",
		},
		Tags: map[string]string{"Workload": "worker-ai", "Domain": "worker-ai", "Phase": "4", "Type": "network-bound"},
	},
	{
		Name: "k8s-rabbitmq", InstanceType: "t3.medium", Zone: 1, DiskGB: 40,
		Labels: map[string]string{
			"role": "infrastructure", "domain": "integration", "infra-type": "rabbitmq",
			"workload": "message-queue", "tier": "platform", "phase": "4",
		},
		Taints: noSchedule("domain", "integration"),
		Tags:   map[string]string{"Workload": "message-queue", "Domain": "integration", "Phase": "4"},
	},
	{
		Name: "k8s-postgresql", InstanceType: "t3.large", Zone: 0, DiskGB: 80,
		Labels: map[string]string{
			"role": "infrastructure", "domain": "data", "infra-type": "postgresql",
			"workload": "database", "tier": "data", "phase": "1",
		},
		Taints: noSchedule("domain", "data"),
		Tags:   map[string]string{"Workload": "database", "Domain": "data", "Phase": "1"},
	},
	{
		Name: "k8s-redis", InstanceType: "t3.medium", Zone: 1, DiskGB: 30,
		Labels: map[string]string{
			"role": "infrastructure", "domain": "data", "infra-type": "redis", "workload": "cache", "tier": "data", "phase": "1",
		},
		Taints: noSchedule("domain", "data"),
		Tags:   map[string]string{"Workload": "cache", "Domain": "data", "Phase": "1"},
	},
	{
		Name: "k8s-monitoring", InstanceType: "t3.large", Zone: 1, DiskGB: 60,
		RequiredBy: "kube-prometheus-stack",
		Labels: map[string]string{
			"role": "infrastructure", "domain": "observability", "infra-type": "monitoring",
			"workload": "monitoring", "tier": "observability", "phase": "4",
		},
		Taints: noSchedule("domain", "observability"),
		Tags:   map[string]string{"Workload": "monitoring", "Domain": "observability", "Phase": "4"},
	},
}

// noSchedule returns the taint that keeps all pods without a matching toleration off a node.
func noSchedule(key, value string) []Taint { return []Taint{{key, value, "NoSchedule"}} }
