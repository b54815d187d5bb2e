package cluster

import (
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/infra"
)

// pairs writes labels as the kubelet takes them, in the order of their keys: "a=b,c=d".
func pairs(labels map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, key+"="+labels[key])
	}
	return strings.Join(out, ",")
}

// marks are the flags that tell a script a node's labels and taints. A script that finds the node joined
// sets them again, so a changed table needs no new join.
func marks(node *infra.Node) []pulumi.StringInput {
	var taints []string
	for _, t := range node.Taints {
		taints = append(taints, t.String())
	}
	return flags(
		Flag("labels", pulumi.String(pairs(node.Labels))),
		Flag("taints", pulumi.String(strings.Join(taints, ","))),
	)
}
