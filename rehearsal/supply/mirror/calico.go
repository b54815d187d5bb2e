package mirror

// CalicoRelease is the release that is built. Its tag is not a version of the module, which is pinned by the same
// commit instead.
const CalicoRelease = "v3.31.0"

// calico needs the replace directives of its own go.mod too. A module that requires it does not inherit them, so
// build/calico/go.mod repeats them.
var calico = project{
	name: "calico", module: "github.com/projectcalico/calico",
	packages: []command{
		{path: "node/cmd/calico-node", usual: "3 minutes"},
		{path: "cni-plugin/cmd/calico", usual: "half a minute"}, {path: "cni-plugin/cmd/install", usual: "10 seconds"},
		{path: "kube-controllers/cmd/kube-controllers", usual: "10 seconds"},
		{path: "kube-controllers/cmd/check-status", usual: "a second"}, {path: "kube-controllers/cmd/wrapper", usual: "a second"},
	},
	ldflags: func(string) string {
		return " -X github.com/projectcalico/calico/pkg/buildinfo.Version=" + CalicoRelease
	},
}
