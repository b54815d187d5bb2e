package platform

import (
	"cmp"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// podSecurity maps namespaces to their Pod Security Standard, if it is not baseline. Pods that violate it are rejected.
var podSecurity = map[string]string{
	// Nothing that their charts install needs more. That of argocd is set where it is created, in argocd.sh.
	platformSystem:  "restricted",
	dataSystem:      "restricted",
	messagingSystem: "restricted",
	// node-exporter reads the node's processes, network and file systems.
	monitoring: "privileged",
}

// namespaceLabels returns the labels of a namespace. The API server's own default for namespaces without a level is
// baseline too, but a control plane that an earlier version of the program created does not have it.
func namespaceLabels(name string) pulumi.StringMap {
	return pulumi.StringMap{"pod-security.kubernetes.io/enforce": pulumi.String(cmp.Or(podSecurity[name], "baseline"))}
}
