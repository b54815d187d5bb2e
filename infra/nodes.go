package infra

import (
	"fmt"
	"slices"

	"eco2/config"
)

// NodeSpec is one machine of the cluster as the table says it: what it is, where it stands, and what
// Kubernetes shall know of it.
type NodeSpec struct {
	Name         string
	InstanceType string
	// Zone is the zone that a new machine prefers, as the place of its letter: 0 is zone a.
	Zone int
	// DiskGB is the encrypted gp3 root volume in GiB.
	DiskGB int
	Labels map[string]string
	Taints []Taint
	// Tags are the machine's own AWS tags, beside its name.
	Tags map[string]string
	// Needed is what of the platform runs on this node alone; empty where a stack can do without it.
	Needed string
}

// Taint keeps pods away that do not tolerate it.
type Taint struct {
	Key, Value, Effect string
}

// String is the taint as kubectl writes it: "domain=data:NoSchedule".
func (t Taint) String() string { return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect) }

// zone is where the machine stands: in the zone where it is already, as long as the stack has that zone, so
// that another zone in the settings moves nothing. A new machine takes the zone it prefers; where the stack
// does not have that one, the list is counted through.
func (s NodeSpec) zone(zones []string, current string) string {
	if slices.Contains(zones, current) {
		return current
	}
	for _, zone := range zones {
		if letter(zone) == s.Zone {
			return zone
		}
	}
	return zones[s.Zone%len(zones)]
}

// ControlPlane says whether this is the machine that runs the control plane.
func (s NodeSpec) ControlPlane() bool { return s.Labels["role"] == "control-plane" }

func noSchedule(key, value string) []Taint { return []Taint{{key, value, "NoSchedule"}} }

// table is the only place that knows the nodes: instances, labels, taints, the number to wait for,
// outputs and documentation derive from it. Each domain has machines of its own, which its taint keeps
// for it; the first entry is the control plane.
func table() []NodeSpec {
	api := func(name, instanceType string, zone, disk int, phase string) NodeSpec {
		return NodeSpec{
			Name: "k8s-api-" + name, InstanceType: instanceType, Zone: zone, DiskGB: disk,
			Labels: map[string]string{
				"role": "api", "domain": name, "service": name, "workload": "api",
				"tier": "business-logic", "phase": phase,
			},
			Taints: noSchedule("domain", name),
			Tags:   map[string]string{"Workload": "api-" + name, "Domain": name, "Phase": phase},
		}
	}
	worker := func(name string, zone int, kind string) NodeSpec {
		return NodeSpec{
			Name: "k8s-worker-" + name, InstanceType: "t3.medium", Zone: zone, DiskGB: 40,
			Labels: map[string]string{
				"role": "worker", "domain": "worker-" + name, "worker-type": name,
				"workload": "worker-" + name, "tier": "worker", "phase": "4",
			},
			Tags: map[string]string{"Workload": "worker-" + name, "Domain": "worker-" + name, "Phase": "4", "Type": kind},
		}
	}
	infrastructure := func(name, instanceType string, zone, disk int, domain, workload, tier, phase string) NodeSpec {
		return NodeSpec{
			Name: "k8s-" + name, InstanceType: instanceType, Zone: zone, DiskGB: disk,
			Labels: map[string]string{
				"role": "infrastructure", "domain": domain, "infra-type": name,
				"workload": workload, "tier": tier, "phase": phase,
			},
			Taints: noSchedule("domain", domain),
			Tags:   map[string]string{"Workload": workload, "Domain": domain, "Phase": phase},
		}
	}
	monitoring := infrastructure("monitoring", "t3.large", 1, 60, "observability", "monitoring", "observability", "4")
	monitoring.Needed = "kube-prometheus-stack"
	return []NodeSpec{
		{
			Name: "k8s-master", InstanceType: "t3.xlarge", Zone: 0, DiskGB: 80,
			Labels: map[string]string{
				"role": "control-plane", "domain": "control-plane", "service": "platform-system",
				"workload": "control-plane", "tier": "platform", "phase": "0",
			},
			Taints: noSchedule("role", "control-plane"),
			Tags:   map[string]string{"Workload": "control-plane", "Domain": "control-plane", "Phase": "0"},
		},
		api("auth", "t3.small", 0, 20, "1"),
		api("my", "t3.small", 1, 20, "1"),
		api("scan", "t3.medium", 2, 30, "2"),
		api("character", "t3.small", 0, 20, "2"),
		api("location", "t3.small", 1, 20, "2"),
		api("info", "t3.small", 2, 20, "3"),
		api("chat", "t3.medium", 0, 30, "3"),
		worker("storage", 2, "io-bound"),
		worker("ai", 0, "network-bound"),
		infrastructure("rabbitmq", "t3.medium", 1, 40, "integration", "message-queue", "platform", "4"),
		infrastructure("postgresql", "t3.large", 0, 80, "data", "database", "data", "1"),
		infrastructure("redis", "t3.medium", 1, 30, "data", "cache", "data", "1"),
		monitoring,
	}
}

// Entries are the table's entries, the control plane's first. Configuration may override these.
func Entries() []config.NodeEntry {
	var entries []config.NodeEntry
	for _, spec := range table() {
		entries = append(entries, config.NodeEntry{Name: spec.Name, Needed: spec.Needed})
	}
	return entries
}

// Domains are the API domains of the table, whether or not a stack has machines for them.
func Domains() []string {
	var domains []string
	for _, spec := range table() {
		if spec.Labels["role"] == "api" {
			domains = append(domains, spec.Labels["domain"])
		}
	}
	return domains
}

// nodeSpecs is the table with a stack's overrides. A count above one repeats an entry as <name>-2 and so
// on, one zone further each time; a count of zero leaves it out.
func nodeSpecs(overrides map[string]config.NodeOverride) []NodeSpec {
	var specs []NodeSpec
	for _, spec := range table() {
		override := overrides[spec.Name]
		if override.InstanceType != "" {
			spec.InstanceType = override.InstanceType
		}
		if override.DiskGB != 0 {
			spec.DiskGB = override.DiskGB
		}
		count := 1
		if override.Count != nil {
			count = *override.Count
		}
		for i := range count {
			machine := spec
			if i > 0 {
				machine.Name = fmt.Sprintf("%s-%d", spec.Name, i+1)
				machine.Zone += i
			}
			specs = append(specs, machine)
		}
	}
	return specs
}
