package infra

import (
	"fmt"
	"slices"

	"eco2/config"
)

// NodeSpec describes one machine of the cluster: its instance, its zone, and the labels and taints of its node.
type NodeSpec struct {
	Name         string
	InstanceType string
	// Zone is the preferred zone of a new machine, as the position of its letter: 0 is zone a.
	Zone int
	// DiskGB is the size of the encrypted gp3 root volume in GiB.
	DiskGB int
	Labels map[string]string
	Taints []Taint
	// Tags holds AWS tags of the instance, in addition to those that every machine has.
	Tags map[string]string
	// RequiredBy names the platform's release that can run only on this node. It is empty if a stack may leave the
	// node out.
	RequiredBy string
}

// Taint keeps pods that do not tolerate it off a node.
type Taint struct {
	Key, Value, Effect string
}

// String formats the taint as kubectl does: "domain=data:NoSchedule".
func (t Taint) String() string { return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect) }

// zone returns the machine's availability zone. A machine that exists stays in its current zone as long as the stack
// has that zone, so that another zone in the settings moves no machine. A new machine is placed in its preferred
// zone; if the stack does not have that zone, the preference counts through the stack's list of zones instead.
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

// ControlPlane reports whether this is the machine that runs the control plane.
func (s NodeSpec) ControlPlane() bool { return s.Labels["role"] == "control-plane" }

// NodeEntries returns the entries of nodeTable that a stack's configuration may override, the control plane's first.
func NodeEntries() []config.NodeEntry {
	var entries []config.NodeEntry
	for _, spec := range nodeTable {
		entries = append(entries, config.NodeEntry{Name: spec.Name, RequiredBy: spec.RequiredBy})
	}
	return entries
}

// Domains returns the API domains of nodeTable, whether or not a stack has machines for them.
func Domains() []string {
	var domains []string
	for _, spec := range nodeTable {
		if spec.Labels["role"] == "api" {
			domains = append(domains, spec.Labels["domain"])
		}
	}
	return domains
}

// nodeSpecs returns the machines of a stack: nodeTable with the stack's overrides. A count above one adds machines
// named <name>-2, <name>-3 and so on, each preferring the next zone; a count of zero leaves the entry out.
func nodeSpecs(overrides map[string]config.NodeOverride) []NodeSpec {
	var specs []NodeSpec
	for _, spec := range nodeTable {
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
