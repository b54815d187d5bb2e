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

// labelAndTaintFlags returns the flags --labels and --taints for a script. If the node has already joined, the script
// sets them again, so a changed node table needs no new join.
func labelAndTaintFlags(node *infra.Node) []pulumi.StringInput {
	var taints []string
	for _, t := range node.Taints {
		taints = append(taints, t.String())
	}
	return joinArgs(
		Flag("labels", pulumi.String(pairs(node.Labels))),
		Flag("taints", pulumi.String(strings.Join(taints, ","))),
	)
}
