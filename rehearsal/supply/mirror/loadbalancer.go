package mirror

// LoadBalancerRelease is the release of the load balancer controller that the pinned commit belongs to. The release's
// tag exists in the repository, but the module proxy has no such version under the module's path.
const LoadBalancerRelease = "v3.2.2"

var loadBalancerController = project{
	name: "aws-load-balancer-controller", module: "sigs.k8s.io/aws-load-balancer-controller",
	packages: []command{{path: ".", usual: "5 minutes"}},
	ldflags: func(string) string {
		return " -X sigs.k8s.io/aws-load-balancer-controller/pkg/version.GitVersion=" + LoadBalancerRelease
	},
}
