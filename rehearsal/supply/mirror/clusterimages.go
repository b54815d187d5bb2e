package mirror

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"eco2/rehearsal/engine/toolchain"
)

// proxyPackages are Debian's iptables and nft, with the libraries that they need. kube-proxy runs one of the two.
var proxyPackages = []string{
	"iptables", "nftables",
	"libbsd0", "libc6", "libedit2", "libgmp10", "libip4tc2", "libip6tc2", "libjansson4", "libmd0", "libmnl0",
	"libnetfilter-conntrack3", "libnfnetlink0", "libnftables1", "libnftnl11", "libtinfo6", "libxtables12",
}

// addClusterImages adds the images that kubeadm pulls, unless the mirror has them already.
func (m Mirror) addClusterImages(ctx context.Context, s sources) error {
	for _, imageName := range s.images {
		tag, err := name.NewTag(imageName, name.StrictValidation)
		if err != nil {
			return fmt.Errorf("asking kubeadm for its images: %w", err)
		}
		if exists(m.layout().Tag(repositoryOf(tag), tag.TagStr())) {
			continue
		}
		image, err := s.image(ctx, tag)
		if err != nil {
			return err
		}
		image.Name = imageName
		if err := m.addImage(ctx, image, s.debian); err != nil {
			return err
		}
	}
	return nil
}

// clusterImages returns the images that `kubeadm config images list` names.
func clusterImages(ctx context.Context, kubernetes Built) ([]string, error) {
	cmd := exec.CommandContext(ctx, kubernetes.Binary("kubeadm"),
		"config", "images", "list", "--kubernetes-version", kubernetes.Version)
	output, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(output)), nil
}

// taggedVersion returns the version in the tag of a component's image, without the "v" before it. After the version, a
// tag may have the number of upstream's build of it: 3.6.8-0. It is empty if no image is the component's.
func taggedVersion(images []string, component string) string {
	for _, image := range images {
		repository, tag, _ := strings.Cut(path.Base(image), ":")
		if repository == component {
			version, _, _ := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
			return version
		}
	}
	return ""
}

// image describes an image that does what upstream's image of this name does.
func (s sources) image(ctx context.Context, tag name.Tag) (Image, error) {
	component := path.Base(tag.RepositoryStr())
	switch component {
	case "etcd", "coredns":
		binary := "/usr/local/bin/" + component
		files := map[string]string{binary: s.binary(component, component)}
		if component == "etcd" {
			for _, tool := range []string{"etcdctl", "etcdutl"} {
				files["/usr/local/bin/"+tool] = s.binary(component, tool)
			}
		}
		return Image{Files: files, Entrypoint: []string{binary}}, nil
	case "pause":
		pause := filepath.Join(s.cache, "pause-"+tag.TagStr())
		err := toolchain.Compile(ctx, s.out, toolchain.Target{
			What: "pause", Usual: "a few seconds", Dir: s.rehearsal, Output: pause,
			Packages: []string{"./supply/mirror/pause"}, LDFlags: "-s -w", Static: true,
		})
		// The same unprivileged user as in upstream's image.
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
		return Image{}, fmt.Errorf("kubeadm requires the image %s, which the rehearsal cannot build; add it to rehearsal/supply/mirror/clusterimages.go", tag.Name())
	}
}

// iptablesLinks returns the links that Debian's alternatives system would create when the package is installed.
func iptablesLinks() map[string]string {
	links := map[string]string{}
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["/usr/sbin/"+command+suffix] = command + "-nft" + suffix
		}
	}
	return links
}
