package mirror

var externalDNS = project{
	name: "external-dns", module: "sigs.k8s.io/external-dns",
	// It includes the clients of all DNS providers, since none can be left out.
	packages: []command{{path: ".", usual: "5 minutes"}},
	ldflags: func(version string) string {
		return " -X sigs.k8s.io/external-dns/pkg/apis/externaldns.Version=" + version
	},
}
