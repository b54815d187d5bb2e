package mirror

// CalicoRelease is the release that calico is built as. Its module has the same commit, without the tag.
const CalicoRelease = "v3.31.0"

// calico needs the replacements of its own go.mod too, which a module that requires it does not inherit.
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
