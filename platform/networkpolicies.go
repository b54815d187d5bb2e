package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// metadataService hands the node role to whoever asks it over HTTP.
const metadataService = "169.254.169.254/32"

// allowance is what a policy opens in a namespace that is otherwise closed.
type allowance struct {
	ingress networkingv1.NetworkPolicyIngressRuleArray
	egress  networkingv1.NetworkPolicyEgressRuleArray
}

// networkPolicies close every namespace of the platform and of the workloads in both directions and open
// what the platform needs, with one policy each. Workloads open the rest beside their own manifests:
// policies add up. kube-system stays open: what runs there is the network itself and the controllers that
// need the node role. Traffic from a node to its own pods, such as probes, is not subject to policies.
func (p *Platform) networkPolicies(ctx *pulumi.Context, namespaces map[string]pulumi.Resource) error {
	var (
		api     = p.toNodes(6443) // policies see where a service leads, not the service's own address
		dns     = toDNS()
		same    = sameNamespace()
		web     = toInternet(443)
		scrapes = fromNamespace(monitoring)
	)
	open := map[string][]allowance{
		// External Secrets, external-dns: AWS and, for its credentials, the metadata service. The API server
		// calls a webhook.
		platformSystem: {dns, api, same, web, to(block(metadataService), tcp(80)), scrapes, fromAnywhere(10250)},
		// The operators watch the API and speak to what they run.
		dataSystem:      {dns, api, scrapes, toPods(6379, 26379)},
		messagingSystem: {dns, api, scrapes, toPods(15672, 15692)},
		// Prometheus scrapes every pod, DNS and its neighbours among them, and every node; Grafana fetches its
		// dashboards, the API server calls a webhook.
		monitoring: {api, {ingress: same.ingress}, web, toPods(), p.toNodes(9100, 10250), fromAnywhere(10250)},
		// Repositories over HTTPS and SSH. The load balancer comes in through a node, under that node's
		// address in the pod network, or its own where the pod is there, so the port is what can be said of it.
		argoCD: {dns, api, same, toInternet(443, 22), scrapes, fromAnywhere(8080)},
	}
	order := []string{platformSystem, dataSystem, messagingSystem, monitoring, argoCD}
	for _, name := range workloads() {
		// The internet, without the metadata service; who may enter from where is the workloads' to say.
		open[name] = []allowance{dns, same, web, scrapes}
		order = append(order, name)
	}
	for _, name := range order {
		after := namespaces[name]
		if name == argoCD {
			after = p.cluster.ArgoCD
		}
		if err := p.networkPolicy(ctx, name, open[name], after); err != nil {
			return err
		}
	}
	return nil
}

func (p *Platform) networkPolicy(ctx *pulumi.Context, namespace string, open []allowance, after pulumi.Resource) error {
	var ingress networkingv1.NetworkPolicyIngressRuleArray
	var egress networkingv1.NetworkPolicyEgressRuleArray
	for _, a := range open {
		ingress = append(ingress, a.ingress...)
		egress = append(egress, a.egress...)
	}
	policy, err := networkingv1.NewNetworkPolicy(ctx, namespace, &networkingv1.NetworkPolicyArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("baseline"), Namespace: pulumi.String(namespace)},
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: metav1.LabelSelectorArgs{}, // every pod
			// Naming both directions is what closes them, but for the rules.
			PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
			Ingress:     ingress,
			Egress:      egress,
		},
	}, p.with(after)...)
	if err != nil {
		return fmt.Errorf("creating the network policy of %s: %w", namespace, err)
	}
	p.made = append(p.made, policy)
	return nil
}

func toDNS() allowance {
	return to(networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: namespaceNamed(kubeSystem),
		PodSelector:       metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"k8s-app": pulumi.String("kube-dns")}},
	}, append(ports("UDP", 53), tcp(53)...))
}

// toNodes opens ports of the machines themselves.
func (p *Platform) toNodes(numbers ...int) allowance {
	return to(block(p.config.VpcCidr.String()), tcp(numbers...))
}

// toInternet opens ports of the world, which the metadata service is not part of.
func toInternet(numbers ...int) allowance {
	return to(block("0.0.0.0/0", metadataService), tcp(numbers...))
}

// toPods opens ports of every pod in the cluster; without ports, all of them.
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

// fromAnywhere opens ports of the namespace's pods to whoever reaches them: callers that come from a node,
// as the API server and the load balancer do, have no address by which a policy could know them.
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

// to opens ports of a peer; without ports, all of them.
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
