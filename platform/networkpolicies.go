package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/config"
)

// metadataService is the address that gives the node role's credentials to anyone who requests them over HTTP.
const metadataService = "169.254.169.254/32"

// networkPolicy is the policy of one namespace. It denies all traffic in both directions except what the platform needs.
//
// Policies are additive: workloads allow more with policies of their own beside their manifests. kube-system has none,
// because the network itself and the controllers that need the node role run there. Policies do not apply to traffic
// from a node to its own pods, such as probes.
type networkPolicy struct {
	namespace string
	allowed   []allowance
}

// allowance holds traffic that a policy allows in a namespace that is otherwise closed.
type allowance struct {
	ingress networkingv1.NetworkPolicyIngressRuleArray
	egress  networkingv1.NetworkPolicyEgressRuleArray
}

// policies returns the network policies of the platform's and the workloads' namespaces.
func policies(c config.Config) []networkPolicy {
	// toNodes allows connections to ports of the machines themselves.
	toNodes := func(numbers ...int) allowance { return to(block(c.VpcCidr.String()), tcp(numbers...)) }
	var (
		api     = toNodes(6443) // policies are applied to a service's endpoints, not to its own address
		dns     = toDNS()
		same    = sameNamespace()
		web     = toInternet(443)
		scrapes = fromNamespace(monitoring)
	)
	policies := []networkPolicy{
		// External Secrets and external-dns call AWS and, for its credentials, the metadata service. The API server calls
		// External Secrets' webhook.
		{platformSystem, []allowance{dns, api, same, web, to(block(metadataService), tcp(80)), scrapes, fromAnywhere(10250)}},
		// The operators watch the API and connect to the instances that they manage.
		{dataSystem, []allowance{dns, api, scrapes, toPods(6379, 26379)}},
		{messagingSystem, []allowance{dns, api, scrapes, toPods(15672, 15692)}},
		// Prometheus scrapes every pod, including DNS and those of its own namespace, and every node. Grafana downloads
		// dashboards. The API server calls the operator's webhook.
		{monitoring, []allowance{api, {ingress: same.ingress}, web, toPods(), toNodes(9100, 10250), fromAnywhere(10250)}},
		// Argo CD reads repositories over HTTPS and SSH. Traffic of the load balancer arrives through a node: with that
		// node's address in the pod network, or with the load balancer's own address if the pod is on that node. So the
		// policy can only restrict the port.
		{argoCD, []allowance{dns, api, same, toInternet(443, 22), scrapes, fromAnywhere(8080)}},
	}
	for _, namespace := range workloadNamespaces() {
		// This allows the internet without the metadata service. Who may connect to them is up to the workloads.
		policies = append(policies, networkPolicy{namespace, []allowance{dns, same, web, scrapes}})
	}
	return policies
}

// declare declares the policy.
func (p networkPolicy) declare(ctx *pulumi.Context, opts ...pulumi.ResourceOption) error {
	var ingress networkingv1.NetworkPolicyIngressRuleArray
	var egress networkingv1.NetworkPolicyEgressRuleArray
	for _, a := range p.allowed {
		ingress = append(ingress, a.ingress...)
		egress = append(egress, a.egress...)
	}
	_, err := networkingv1.NewNetworkPolicy(ctx, p.namespace, &networkingv1.NetworkPolicyArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("baseline"), Namespace: pulumi.String(p.namespace)},
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: metav1.LabelSelectorArgs{}, // every pod
			// A direction that is listed here is denied except for the rules.
			PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
			Ingress:     ingress,
			Egress:      egress,
		},
	}, opts...)
	if err != nil {
		return fmt.Errorf("creating the network policy of %s: %w", p.namespace, err)
	}
	return nil
}

func toDNS() allowance {
	return to(networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: namespaceNamed(kubeSystem),
		PodSelector:       metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"k8s-app": pulumi.String("kube-dns")}},
	}, append(ports("UDP", 53), tcp(53)...))
}

// toInternet allows connections to ports of every address except the metadata service.
func toInternet(numbers ...int) allowance {
	return to(block("0.0.0.0/0", metadataService), tcp(numbers...))
}

// toPods allows connections to ports of every pod in the cluster; without ports, to all ports.
func toPods(numbers ...int) allowance {
	return to(networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: metav1.LabelSelectorArgs{}}, tcp(numbers...))
}

func sameNamespace() allowance {
	here := networkingv1.NetworkPolicyPeerArgs{PodSelector: metav1.LabelSelectorArgs{}}
	return allowance{ingress: from(here).ingress, egress: to(here, nil).egress}
}

func fromNamespace(name string) allowance {
	return from(networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: namespaceNamed(name)})
}

// fromAnywhere allows connections from any address to ports of the namespace's pods. It is for traffic that arrives
// through a node, as from the API server and the load balancer, which a policy cannot recognise by its source address.
func fromAnywhere(numbers ...int) allowance {
	return allowance{ingress: networkingv1.NetworkPolicyIngressRuleArray{
		networkingv1.NetworkPolicyIngressRuleArgs{Ports: tcp(numbers...)},
	}}
}

func from(peer networkingv1.NetworkPolicyPeerArgs) allowance {
	return allowance{ingress: networkingv1.NetworkPolicyIngressRuleArray{
		networkingv1.NetworkPolicyIngressRuleArgs{From: networkingv1.NetworkPolicyPeerArray{peer}},
	}}
}

// to allows connections to ports of a peer; without ports, to all ports.
func to(peer networkingv1.NetworkPolicyPeerArgs, ports networkingv1.NetworkPolicyPortArray) allowance {
	rule := networkingv1.NetworkPolicyEgressRuleArgs{To: networkingv1.NetworkPolicyPeerArray{peer}}
	if len(ports) > 0 {
		rule.Ports = ports
	}
	return allowance{egress: networkingv1.NetworkPolicyEgressRuleArray{rule}}
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeerArgs {
	ip := networkingv1.IPBlockArgs{Cidr: pulumi.String(cidr)}
	if len(except) > 0 {
		ip.Except = pulumi.ToStringArray(except)
	}
	return networkingv1.NetworkPolicyPeerArgs{IpBlock: ip}
}

func namespaceNamed(name string) metav1.LabelSelectorArgs {
	return metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

func tcp(numbers ...int) networkingv1.NetworkPolicyPortArray { return ports("TCP", numbers...) }

func ports(protocol string, numbers ...int) networkingv1.NetworkPolicyPortArray {
	var out networkingv1.NetworkPolicyPortArray
	for _, number := range numbers {
		out = append(out, networkingv1.NetworkPolicyPortArgs{Protocol: pulumi.String(protocol), Port: pulumi.Int(number)})
	}
	return out
}
