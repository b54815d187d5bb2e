package mirror

import (
	"archive/tar"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// units are systemd units and settings that the packages contain. kubeadm relies on the names in the drop-in.
//
//go:embed packages
var units embed.FS

// debPackage is a binary package with the name, version and layout of upstream's.
type debPackage struct {
	name, version, summary string
	// relations are further fields of its control file.
	relations []string
	// binaries maps paths in the package to files on this host.
	binaries map[string]string
	// settings maps paths in the package to files in packages/.
	settings map[string]string
	// postinst is a shell command that runs after the package was installed.
	postinst string
}

const reloadUnits = "[ ! -d /run/systemd/system ] || systemctl daemon-reload"

// Package revisions as on pkgs.k8s.io, which count how often a version was packaged. Most versions have only the
// first, and some only the second.
const (
	firstRevision  = "-1.1"
	secondRevision = "-2.1"
)

// kubernetesPackages returns packages like those of pkgs.k8s.io for a version: both revisions of kubelet, and
// only the second of kubeadm. A script that hardcodes a revision will therefore not find one of the packages.
func kubernetesPackages(s sources) []debPackage {
	version := func(project string) string { return s.version(project) + firstRevision }
	plugins := map[string]string{}
	for _, command := range cniPlugins.packages {
		plugins["/opt/cni/bin/"+command.binary(cniPlugins)] = s.binary("cni-plugins", command.binary(cniPlugins))
	}
	kubelet := debPackage{
		name: "kubelet", version: version("kubernetes"), summary: "the node agent of Kubernetes",
		relations: []string{"Depends: iptables, kubernetes-cni (>= 1.2.0), mount, util-linux"},
		binaries:  map[string]string{"/usr/bin/kubelet": s.binary("kubernetes", "kubelet")},
		settings:  map[string]string{"/usr/lib/systemd/system/kubelet.service": "kubelet.service"},
		postinst:  reloadUnits,
	}
	newer := kubelet // the same files in the second revision
	newer.version = s.version("kubernetes") + secondRevision
	return []debPackage{
		kubelet,
		newer,
		{
			name: "kubeadm", version: newer.version, summary: "sets up Kubernetes clusters",
			binaries: map[string]string{"/usr/bin/kubeadm": s.binary("kubernetes", "kubeadm")},
			settings: map[string]string{"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": "10-kubeadm.conf"},
			postinst: reloadUnits,
		},
		{
			name: "kubectl", version: version("kubernetes"), summary: "the command line of Kubernetes",
			binaries: map[string]string{"/usr/bin/kubectl": s.binary("kubernetes", "kubectl")},
		},
		{
			name: "cri-tools", version: version("cri-tools"), summary: "asks container runtimes",
			binaries: map[string]string{"/usr/bin/crictl": s.binary("cri-tools", "crictl")},
		},
		{
			name: "kubernetes-cni", version: version("cni-plugins"), summary: "the standard network plugins",
			binaries: plugins,
		},
	}
}

// containerdPackage returns a package like that of download.docker.com for the machines' Debian release, in a second
// revision. It contains runc, which is taken from Debian because its build needs C.
func containerdPackage(s sources, runc string) debPackage {
	return debPackage{
		name: "containerd.io", version: s.version("containerd") + "-2~debian.12~" + suite, summary: "a container runtime",
		relations: []string{
			"Depends: libc6 (>= 2.34), libseccomp2 (>= 2.5.0)",
			"Conflicts: containerd, runc", "Replaces: containerd, runc", "Provides: containerd, runc",
		},
		binaries: map[string]string{
			"/usr/bin/containerd":              s.binary("containerd", "containerd"),
			"/usr/bin/containerd-shim-runc-v2": s.binary("containerd", "containerd-shim-runc-v2"),
			"/usr/bin/ctr":                     s.binary("containerd", "ctr"),
			"/usr/bin/runc":                    runc,
		},
		settings: map[string]string{
			"/usr/lib/systemd/system/containerd.service": "containerd.service",
			"/etc/containerd/config.toml":                "containerd.toml",
		},
		postinst: "[ ! -d /run/systemd/system ] || { systemctl daemon-reload; systemctl enable --now containerd; }",
	}
}

// control returns the package's control file, which is also the beginning of its entry in a repository's index.
func (p debPackage) control() string {
	fields := append([]string{
		"Package: " + p.name, "Version: " + p.version, "Architecture: " + runtime.GOARCH,
		"Maintainer: the rehearsal of eco2 <nobody@localhost>", "Priority: optional", "Section: net",
	}, p.relations...)
	return strings.Join(append(fields, "Description: "+p.summary), "\n") + "\n"
}

// filename returns the archive's name, in upstream's format.
func (p debPackage) filename() string {
	return p.name + "_" + p.version + "_" + runtime.GOARCH + ".deb"
}

// build makes the archive in dir and returns its path.
func (p debPackage) build(ctx context.Context, dir string) (_ string, err error) {
	tree := filepath.Join(dir, p.name+".d")
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	if err := p.writeTree(tree); err != nil {
		return "", fmt.Errorf("making the package %s: %w", p.name, err)
	}
	file := filepath.Join(dir, p.filename())
	// zstd, because it is fast to decompress and 14 machines unpack it at once.
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", tree, file)
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making the package %s: dpkg-deb: %w\n%s", p.name, err, output)
	}
	return file, nil
}

// writeTree writes the package's files into the directory tree that dpkg-deb packs.
func (p debPackage) writeTree(tree string) error {
	if err := place(filepath.Join(tree, "DEBIAN", "control"), []byte(p.control()), 0o644); err != nil {
		return err
	}
	for path, source := range p.binaries {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Link(source, path); err != nil {
			return err
		}
	}
	var conffiles strings.Builder
	for path, name := range p.settings {
		data, err := units.ReadFile("packages/" + name)
		if err != nil {
			return err
		}
		if err := place(filepath.Join(tree, path), data, 0o644); err != nil {
			return err
		}
		if strings.HasPrefix(path, "/etc/") {
			conffiles.WriteString(path + "\n")
		}
	}
	if conffiles.Len() > 0 {
		if err := place(filepath.Join(tree, "DEBIAN", "conffiles"), []byte(conffiles.String()), 0o644); err != nil {
			return err
		}
	}
	if p.postinst == "" {
		return nil
	}
	return place(filepath.Join(tree, "DEBIAN", "postinst"), []byte("#!/bin/sh\nset -e\n"+p.postinst+"\n"), 0o755)
}

func place(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// runc extracts the binary from Debian's package into dir, and returns its path.
func (d debian) runc(ctx context.Context, dir string) (string, error) {
	packages, err := d.packages(ctx, "runc")
	if err != nil {
		return "", err
	}
	target := filepath.Join(dir, "runc")
	found := false
	err = d.files(ctx, packages[0], func(header *tar.Header, content io.Reader) error {
		if header.Name != "/usr/sbin/runc" {
			return nil
		}
		found = true
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return place(target, data, 0o755)
	})
	if err == nil && !found {
		err = errors.New("unpacking runc: Debian's package has no /usr/sbin/runc")
	}
	return target, err
}
