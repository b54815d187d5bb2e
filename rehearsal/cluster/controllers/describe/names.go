package describe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

var unnameable = regexp.MustCompile(`[^a-zA-Z0-9]`)

// balancerName returns the name of a group's load balancer. The group of an Ingress without a group name is
// "NAMESPACE/INGRESS".
func balancerName(cluster, group string) string {
	namespace, ingress, alone := strings.Cut(group, "/")
	if alone {
		return fmt.Sprintf("k8s-%.8s-%.8s-%s", clean(namespace), clean(ingress), digest(cluster, group))
	}
	return fmt.Sprintf("k8s-%.17s-%s", clean(group), digest(cluster, group))
}

// groupName returns the name of the target group for a Service's port, which is a number or a name.
func groupName(cluster, group, namespace, service, port string) string {
	return fmt.Sprintf("k8s-%.8s-%.8s-%s", clean(namespace), clean(service), digest(cluster, group, namespace, service, port))
}

func clean(name string) string { return unnameable.ReplaceAllString(name, "") }

func digest(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "|")))
	return hex.EncodeToString(sum[:5])
}
