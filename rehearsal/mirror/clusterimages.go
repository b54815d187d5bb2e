package mirror

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"eco2/rehearsal/toolchain"
)

// proxyPackages are Debian's iptables and nft, one of which kube-proxy runs, with the libraries they need.
var proxyPackages = []string{
	"iptables", "nftables",
	"libbsd0", "libc6", "libedit2", "libgmp10", "libip4tc2", "libip6tc2", "libjansson4", "libmd0", "libmnl0",
	"libnetfilter-conntrack3", "libnfnetlink0", "libnftables1", "libnftnl11", "libtinfo6", "libxtables12",
}

// addClusterImages adds what kubeadm pulls, as far as it is not there yet.
func (m Mirror) addClusterImages(ctx context.Context, s sources) error {
	names, err := wantedImages(ctx, s)
	if err != nil {
		return fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	for _, wanted := range names {
		tag, err := name.NewTag(wanted, name.StrictValidation)
		if err != nil {
			return fmt.Errorf("asking kubeadm for its images: %w", err)
		}
		if exists(m.layout().Tag(repositoryOf(tag), tag.TagStr())) {
			continue
		}
		say(s.out, "making the image %s", wanted)
		image, err := s.image(ctx, tag)
		if err != nil {
			return err
		}
		image.Name = wanted
		if err := m.addImage(ctx, image, s.debian); err != nil {
			return err
		}
	}
	return nil
}

// wantedImages are those that kubeadm itself names.
func wantedImages(ctx context.Context, s sources) ([]string, error) {
	cmd := exec.CommandContext(ctx, s.binary("kubernetes", "kubeadm"),
		"config", "images", "list", "--kubernetes-version", s.built["kubernetes"].Version)
	output, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(output)), nil
}

// image is what upstream's image of this name does.
func (s sources) image(ctx context.Context, tag name.Tag) (Image, error) {
	component := path.Base(tag.RepositoryStr())
	switch component {
	case "etcd", "coredns":
		// A tag may count upstream's builds of the same version: 3.6.8-0.
		if version, _, _ := strings.Cut(strings.TrimPrefix(tag.TagStr(), "v"), "-"); version != s.version(component) {
			return Image{}, fmt.Errorf("kubeadm wants %s %s and rehearsal/mirror/build/%s pins %s; pin the former",
				component, version, component, s.version(component))
		}
		binary := "/usr/local/bin/" + component
		return Image{Files: map[string]string{binary: s.binary(component, component)}, Entrypoint: []string{binary}}, nil
	case "pause":
		pause := filepath.Join(s.cache, "pause-"+tag.TagStr())
		err := toolchain.Build(ctx, s.out, toolchain.Target{
			What: "pause", Usual: "a few seconds", Dir: s.rehearsal, Output: pause,
			Packages: []string{"./mirror/pause"}, LDFlags: "-s -w", Static: true,
		})
		// Nobody's number, as upstream's.
		return Image{Files: map[string]string{"/pause": pause}, Entrypoint: []string{"/pause"}, User: "65535:65535"}, err
	case "kube-apiserver", "kube-controller-manager", "kube-scheduler":
		return Image{Files: map[string]string{"/usr/local/bin/" + component: s.binary("kubernetes", component)}}, nil
	case "kube-proxy":
		return Image{
			Files:  map[string]string{"/usr/local/bin/kube-proxy": s.binary("kubernetes", component)},
			Debian: proxyPackages,
			Links:  iptablesLinks(),
		}, nil
	default:
		return Image{}, fmt.Errorf("kubeadm wants the image %s, which the rehearsal does not know to make", tag.Name())
	}
}

// iptablesLinks are the alternatives that Debian chooses when the package is installed.
func iptablesLinks() map[string]string {
	links := map[string]string{}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["/usr/sbin/"+command+suffix] = command + "-nft" + suffix
		}
	}
	return links
}
