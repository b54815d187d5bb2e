package config

import (
	"maps"
	"slices"
	"strings"
)

// NodeEntry is an entry of the node table, which eco2:nodes may override.
type NodeEntry struct {
	Name string
	// RequiredBy names what can run only on this node. If it is set, the entry's count cannot be zero.
	RequiredBy string
}

// NodeOverride changes one entry of the node table for a stack. A field with its zero value changes nothing.
type NodeOverride struct {
	// InstanceType is an EC2 instance type with an Intel or AMD processor, such as t3.large.
	InstanceType string `json:"instanceType"`
	// DiskGB is the size of the root disk in GiB, from 8 to 16384.
	DiskGB int `json:"diskGb"`
	// Count is the number of machines of this entry, from 0 to 99; the second is named <name>-2. A count of zero
	// removes the entry. The control plane's must be 1.
	Count *int `json:"count"`
}

// maxCount is the maximum number of machines of one entry of the node table.
const maxCount = 99

// checkNodes reports overrides of entries that are not in the node table, or to what their machines cannot be.
func (r *report) checkNodes(overrides map[string]NodeOverride, nodes []NodeEntry) {
	var names []string
	for _, node := range nodes {
		names = append(names, node.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		key, o := "nodes."+name, overrides[name]
		i := slices.Index(names, name)
		if i < 0 {
			r.problem(key, "is not a node; the nodes are %s", strings.Join(names, ", "))
			continue
		}
		if problem := instanceTypeProblem(o.InstanceType); problem != "" {
			r.problem(key+".instanceType", "%s", problem)
		}
		// Ubuntu's image has 8 GiB; the largest gp3 volume has 16384 GiB.
		if o.DiskGB != 0 && (o.DiskGB < 8 || o.DiskGB > 16384) {
			r.problem(key+".diskGb", "%d must be between 8 and 16384 GiB", o.DiskGB)
		}
		switch {
		case o.Count == nil:
		case i == 0 && *o.Count != 1:
			r.problem(key+".count", "must stay 1: the cluster has one control plane")
		case *o.Count == 0 && nodes[i].RequiredBy != "":
			r.problem(key+".count", "must be at least 1: %s can run on no other node", nodes[i].RequiredBy)
		case *o.Count < 0 || *o.Count > maxCount:
			r.problem(key+".count", "%d must be between 0 and %d", *o.Count, maxCount)
		}
	}
}

// machineCount returns the number of a stack's nodes: the node table with the stack's overrides. An invalid count,
// which checkNodes reports, counts as one.
func machineCount(overrides map[string]NodeOverride, nodes []NodeEntry) int {
	total := 0
	for _, node := range nodes {
		if n := overrides[node.Name].Count; n != nil && *n >= 0 && *n <= maxCount {
			total += *n
		} else {
			total++
		}
	}
	return max(total, 1)
}
