// Package names derives what the load balancer controller calls what it makes, for the stand-in and for the model of
// it alike: in AWS's 32 letters, digits and hyphens, and another for each cluster and group.
package names

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

var unnameable = regexp.MustCompile(`[^a-zA-Z0-9]`)

// LoadBalancer is the name of a group's load balancer. A group that nobody named is "NAMESPACE/INGRESS".
func LoadBalancer(cluster, group string) string {
	namespace, ingress, alone := strings.Cut(group, "/")
	if alone {
		return fmt.Sprintf("k8s-%.8s-%.8s-%s", clean(namespace), clean(ingress), digest(cluster, group))
	}
	return fmt.Sprintf("k8s-%.17s-%s", clean(group), digest(cluster, group))
}

// TargetGroup is the name of a group's target group for a port, a number or a name, of a Service.
func TargetGroup(cluster, group, namespace, service, port string) string {
	return fmt.Sprintf("k8s-%.8s-%.8s-%s", clean(namespace), clean(service), digest(cluster, group, namespace, service, port))
}

func clean(name string) string { return unnameable.ReplaceAllString(name, "") }

func digest(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "|")))
	return hex.EncodeToString(sum[:5])
}
