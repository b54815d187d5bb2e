// Package calico adds Calico to the mirror: upstream's manifest, unchanged, and the images in it, built from its Go
// module.
//
// The images do not contain what VXLAN does not use: BIRD and confd, which are for BGP, and the eBPF data plane.
package calico

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"eco2/rehearsal/supply/mirror"
)

const (
	// Version is the release.
	Version = mirror.CalicoRelease
	// moduleVersion is the module version of the release's commit.
	moduleVersion = "v0.0.0-20251021213802-b1f3c43f8437"

	// URL is the URL from which the program downloads the manifest.
	URL = "https://raw.githubusercontent.com/projectcalico/calico/" + Version + "/manifests/calico-vxlan.yaml"

	registry = "quay.io/calico/"

	// manifestFile is the manifest's path in the module.
	manifestFile = "manifests/calico-vxlan.yaml"
)

// Images returns the names of the images that Add serves.
func Images() []string {
	return []string{registry + "cni:" + Version, registry + "kube-controllers:" + Version, registry + "node:" + Version}
}

// nodePackages lists the Debian packages of the programs that calico-node runs, and of their libraries: a supervisor
// with its shell, and the tools with which Felix programs the kernel. ipset finds tcp and udp in netbase's
// /etc/protocols: without it Felix panics on a policy that names a port, and enforces no other change either.
var nodePackages = []string{
	"bash", "conntrack", "coreutils", "dash", "debianutils", "ipset", "iptables", "netbase", "runit",
	"libacl1", "libattr1", "libbsd0", "libc6", "libedit2", "libgmp10", "libip4tc2", "libip6tc2", "libipset13", "libmd0",
	"libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libpcre2-8-0", "libselinux1", "libtinfo6",
	"libxtables12",
}

// Add builds the binaries that are not built yet, adds the manifest and its images to the mirror, and returns the
// manifest. repo is the path of the project's checkout. Add writes its progress to out.
func Add(ctx context.Context, m mirror.Mirror, repo string, out io.Writer) (manifest []byte, err error) {
	built, err := mirror.BuildProject(ctx, repo, "calico", moduleVersion, out)
	if err != nil {
		return nil, err
	}
	source, err := built.Source(ctx)
	if err != nil {
		return nil, err
	}
	node, err := nodeImage(built.Binary("calico-node"), filepath.Join(source, "node", "filesystem"))
	if err != nil {
		return nil, fmt.Errorf("reading the files of Calico's node image: %w", err)
	}
	for _, image := range []mirror.Image{
		node,
		{
			Name:  registry + "cni:" + Version,
			Files: map[string]string{"/opt/cni/bin/calico": built.Binary("calico"), "/opt/cni/bin/install": built.Binary("install")},
			Links: map[string]string{"/opt/cni/bin/calico-ipam": "calico"},
		},
		{
			Name: registry + "kube-controllers:" + Version,
			Files: map[string]string{
				"/usr/bin/kube-controllers": built.Binary("kube-controllers"), "/usr/bin/check-status": built.Binary("check-status"),
				"/usr/bin/wrapper": built.Binary("wrapper"),
			},
			Writable:   []string{"/status/status.json"},
			Entrypoint: []string{"/usr/bin/wrapper", "/usr/bin/kube-controllers"},
			User:       "999",
		},
	} {
		if err := m.AddImage(ctx, image, out); err != nil {
			return nil, err
		}
	}
	manifest, err = os.ReadFile(filepath.Join(source, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("reading Calico's manifest: %w", err)
	}
	return manifest, m.AddFile(URL, manifest)
}

// nodeImage returns the image of calico-node. It contains upstream's scripts from the module, which start Felix and the
// other services that the environment variables enable.
func nodeImage(binary, filesystem string) (mirror.Image, error) {
	image := mirror.Image{
		Name:   registry + "node:" + Version,
		Files:  map[string]string{"/bin/calico-node": binary},
		Links:  map[string]string{"/bin/sh": "dash", "/usr/bin/which": "which.debianutils"},
		Debian: nodePackages, Entrypoint: []string{"start_runit"},
		// The binary is built without C and so without libbpf, whose stubs panic. Felix must not try to remove the eBPF
		// programs of an earlier eBPF mode.
		// Fourteen Felixes share one host's processors: with one thread each, they switch less often between threads.
		Env: []string{"SVDIR=/etc/service/enabled", "FELIX_DebugSkipCTLBCleanup=true", "GOMAXPROCS=1"},
	}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			image.Links["/usr/sbin/"+command+suffix] = command + "-legacy" + suffix // as in upstream's image
		}
	}
	err := filepath.WalkDir(filesystem, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == ".gitkeep" {
			return err
		}
		name, err := filepath.Rel(filesystem, file)
		if path.Dir(name) == "sbin" {
			name = path.Join("usr", name)
		}
		image.Files["/"+name] = file
		return err
	})
	return image, err
}
