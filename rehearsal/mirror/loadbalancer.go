package mirror

// LoadBalancerRelease is the release that the pinned version of the load balancer controller's module is: its tags are
// on its repository, and not on the path under which the proxy has the module.
const LoadBalancerRelease = "v3.2.2"

var loadBalancerController = project{
	name: "aws-load-balancer-controller", module: "sigs.k8s.io/aws-load-balancer-controller",
	packages: []command{{path: ".", usual: "5 minutes"}},
	ldflags: func(string) string {
		return " -X sigs.k8s.io/aws-load-balancer-controller/pkg/version.GitVersion=" + LoadBalancerRelease
	},
}
