package cluster

import (
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/infra"
)

// pairs formats labels as the kubelet expects them, sorted by key: "a=b,c=d".
func pairs(labels map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, key+"="+labels[key])
	}
	return strings.Join(out, ",")
}

// labelsAndTaints returns the arguments with the flags --labels and --taints added. If the node has already joined, the
// script sets them again, so a changed node table needs no new join.
func (a Arguments) labelsAndTaints(node *infra.Node) Arguments {
	var taints []string
	for _, t := range node.Taints {
		taints = append(taints, t.String())
	}
	return a.
		Flag("labels", pulumi.String(pairs(node.Labels))).
		Flag("taints", pulumi.String(strings.Join(taints, ",")))
}
