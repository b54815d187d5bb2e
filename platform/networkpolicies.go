package platform

import (
	"fmt"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"eco2/component"
	"eco2/config"
	"eco2/infra"
)

// metadataService is the address that gives the node role's credentials to anyone who requests them over HTTP.
const metadataService = "169.254.169.254/32"

// closedNamespace is a namespace whose network policies deny all traffic in both directions except what the platform
// needs.
//
// Policies are additive: workloads allow more with policies of their own beside their manifests. They apply neither to
// pods on the host's network nor to traffic from a node to its own pods, such as probes.
type closedNamespace struct {
	name string
	// allowed is what every pod may do.
	allowed []allowance
	// pods holds what some of the pods may do in addition.
	pods []podPolicy
}

// podPolicy allows traffic of the pods with a label.
type podPolicy struct {
	name       string
	key, value string // of the label
	allowed    []allowance
}

// allowance holds traffic that a policy allows in a namespace that is otherwise closed.
type allowance struct {
	ingress networkingv1.NetworkPolicyIngressRuleArray
	egress  networkingv1.NetworkPolicyEgressRuleArray
}

// appName is the label that the charts and the Prometheus operator set to the name of a pod's program.
const appName = "app.kubernetes.io/name"

// closedNamespaces returns the namespaces of the platform and of the workloads.
func closedNamespaces(c config.Config) []closedNamespace {
	// toNodes allows connections to ports of the machines themselves.
	toNodes := func(numbers ...int) allowance { return to(block(c.VpcCidr.String()), tcp(numbers...)) }
	// toInternet allows connections to ports of every address that is neither a machine, a pod or a Service nor the
	// metadata service.
	toInternet := func(numbers ...int) allowance {
		return to(block("0.0.0.0/0", metadataService, c.VpcCidr.String(), c.PodCidr.String(), c.ServiceCidr.String()), tcp(numbers...))
	}
	var (
		api         = toNodes(6443) // policies are applied to a service's endpoints, not to its own address
		dns         = toDNS()
		same        = sameNamespace()
		web         = toInternet(443)
		credentials = to(block(metadataService), tcp(80))
		scrapes     = from(podsWith(monitoring, appName, "prometheus"))
	)
	namespaces := []closedNamespace{
		// Every pod here needs the API. Pods that the program does not know, such as those of an add-on, get no more.
		{kubeSystem, []allowance{dns, api, scrapes}, []podPolicy{
			// Everything resolves names, also what runs on the host's network. CoreDNS asks the servers in its node's
			// resolv.conf: the VPC's own or others that its DHCP options name.
			{"coredns", "k8s-app", "kube-dns", []allowance{fromAnywhereTo(dnsPorts()), to(block("0.0.0.0/0"), dnsPorts())}},
			// The API server calls the webhook of the load balancer controller.
			{"aws-load-balancer-controller", appName, "aws-load-balancer-controller", []allowance{web, credentials, fromAnywhere(9443)}},
			{"aws-ebs-csi-driver", appName, "aws-ebs-csi-driver", []allowance{web, credentials}},
			// The API server forwards requests for metrics to metrics-server, which asks the kubelets.
			{"metrics-server", appName, "metrics-server", []allowance{toNodes(10250), fromAnywhere(10250)}},
		}},
		// External Secrets and external-dns call AWS and, for its credentials, the metadata service. The API server calls
		// External Secrets' webhook.
		{platformSystem, []allowance{dns, api, same, web, credentials, scrapes, fromAnywhere(10250)}, nil},
		// The operators watch the API and connect to the instances that they manage.
		{dataSystem, []allowance{dns, api, scrapes, toPods(6379, 26379)}, nil},
		{messagingSystem, []allowance{dns, api, scrapes, toPods(15672, 15692)}, nil},
		{monitoring, []allowance{dns, api, same}, []podPolicy{
			// Prometheus scrapes every pod and every node.
			{"prometheus", appName, "prometheus", []allowance{toPods(), toNodes(9100, 10250)}},
			// Grafana downloads dashboards and plugins, and Alertmanager notifies services on the internet.
			{"grafana", appName, "grafana", []allowance{web}},
			{"alertmanager", appName, "alertmanager", []allowance{web}},
			// The API server calls the operator's webhook.
			{"operator", "app", "kube-prometheus-stack-operator", []allowance{fromAnywhere(10250)}},
		}},
		// Argo CD reads repositories over HTTPS and SSH. Traffic of the load balancer arrives through a node: with that
		// node's address in the pod network, or with the load balancer's own address if the pod is on that node. So the
		// policy can only restrict the port.
		{argoCD, []allowance{dns, api, same, toInternet(443, 22), scrapes, fromAnywhere(8080)}, nil},
	}
	// Who may connect to workloads is up to them. Databases connect to nothing outside the cluster, such as the store of
	// a backup, unless their manifests allow it.
	for _, name := range infra.Domains() {
		namespaces = append(namespaces, closedNamespace{name, []allowance{dns, same, scrapes, web}, nil})
	}
	for _, name := range dataNamespaces {
		namespaces = append(namespaces, closedNamespace{name, []allowance{dns, same, scrapes}, nil})
	}
	return namespaces
}

// baseline is the name of the policy of all pods in a namespace.
const baseline = "baseline"

// declarePolicies declares the policies of the namespace. The one that closes it comes last, so that what single pods
// need is allowed before: DNS must not fail meanwhile, or if the update is interrupted in between.
func (n closedNamespace) declarePolicies(ctx *pulumi.Context, s *shared, parent component.Component, after ...pulumi.Resource) error {
	for _, p := range n.pods {
		selector := metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{p.key: pulumi.String(p.value)}}
		policy, err := n.declarePolicy(ctx, n.name+"-"+p.name, p.name, selector, p.allowed, s.object(parent, after...))
		if err != nil {
			return err
		}
		after = append(after, policy)
	}
	_, err := n.declarePolicy(ctx, n.name, baseline, metav1.LabelSelectorArgs{}, n.allowed, s.object(parent, after...))
	return err
}

// declarePolicy declares one policy, for the pods that the selector matches; the empty one matches every pod.
func (n closedNamespace) declarePolicy(
	ctx *pulumi.Context, resource, name string, pods metav1.LabelSelectorArgs, allowed []allowance, opts ...pulumi.ResourceOption,
) (pulumi.Resource, error) {
	var ingress networkingv1.NetworkPolicyIngressRuleArray
	var egress networkingv1.NetworkPolicyEgressRuleArray
	for _, a := range allowed {
		ingress = append(ingress, a.ingress...)
		egress = append(egress, a.egress...)
	}
	policy, err := networkingv1.NewNetworkPolicy(ctx, resource, &networkingv1.NetworkPolicyArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: pulumi.String(n.name)},
		Spec: networkingv1.NetworkPolicySpecArgs{
			PodSelector: pods,
			// A direction that is listed here is denied except for the rules.
			PolicyTypes: pulumi.ToStringArray([]string{"Ingress", "Egress"}),
			Ingress:     ingress,
			Egress:      egress,
		},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("creating the network policy %s of %s: %w", name, n.name, err)
	}
	return policy, nil
}

func toDNS() allowance {
	return to(podsWith(kubeSystem, "k8s-app", "kube-dns"), dnsPorts())
}

func dnsPorts() networkingv1.NetworkPolicyPortArray { return append(ports("UDP", 53), tcp(53)...) }

// toPods allows connections to ports of every pod in the cluster; without ports, to all ports.
func toPods(numbers ...int) allowance {
	return to(networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: metav1.LabelSelectorArgs{}}, tcp(numbers...))
}

func sameNamespace() allowance {
	here := networkingv1.NetworkPolicyPeerArgs{PodSelector: metav1.LabelSelectorArgs{}}
	return allowance{ingress: from(here).ingress, egress: to(here, nil).egress}
}

// podsWith selects the pods of a namespace that have a label.
func podsWith(namespace, key, value string) networkingv1.NetworkPolicyPeerArgs {
	return networkingv1.NetworkPolicyPeerArgs{
		NamespaceSelector: metav1.LabelSelectorArgs{
			MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(namespace)},
		},
		PodSelector: metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{key: pulumi.String(value)}},
	}
}

// fromAnywhere allows connections from any address to ports of the namespace's pods. It is for traffic that arrives
// through a node, as from the API server and the load balancer, which a policy cannot recognise by its source address.
func fromAnywhere(numbers ...int) allowance { return fromAnywhereTo(tcp(numbers...)) }

func fromAnywhereTo(ports networkingv1.NetworkPolicyPortArray) allowance {
	return allowance{ingress: networkingv1.NetworkPolicyIngressRuleArray{
		networkingv1.NetworkPolicyIngressRuleArgs{Ports: ports},
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

func tcp(numbers ...int) networkingv1.NetworkPolicyPortArray { return ports("TCP", numbers...) }

func ports(protocol string, numbers ...int) networkingv1.NetworkPolicyPortArray {
	var out networkingv1.NetworkPolicyPortArray
	for _, number := range numbers {
		out = append(out, networkingv1.NetworkPolicyPortArgs{Protocol: pulumi.String(protocol), Port: pulumi.Int(number)})
	}
	return out
}
