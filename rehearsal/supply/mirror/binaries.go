package mirror

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"eco2/config"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
)

// project is an upstream project whose binaries are built from its Go module.
type project struct {
	// name is the folder below build/ whose go.mod pins the project. module is the module in it whose version is the
	// project's.
	name, module string
	// packages are the commands to build, in this order. The first one of a project takes longest, as it compiles the
	// packages that they share.
	packages []command
	// ldflags returns linker flags that set the version in a binary that would not know it otherwise.
	ldflags func(version string) string
	// published returns the version of the modules that upstream publishes from the directories of this one. It is nil
	// if there are none.
	published func(version string) string
	// placeholders are files that a binary embeds but the module does not contain, such as a built web interface.
	placeholders []string
}

// command is a main package of a project.
type command struct {
	// path is the package's directory, relative to the module.
	path string
	// name is the name of the binary; empty is the name that `go build` would give it.
	name string
	// usual is how long the build takes with empty caches on two cores.
	usual string
	tags  string
	// module is the package's module if that is not the project's.
	module string
	// test builds the binary of the package's tests.
	test bool
}

func (c command) binary(p project) string {
	switch {
	case c.name != "":
		return c.name
	case c.path == ".":
		return p.name
	default:
		return path.Base(c.path)
	}
}

// clusterProjects are needed by machines and kubeadm, platformProjects run in the cluster after that, and testProjects
// test a cluster.
var (
	clusterProjects  = []project{containerd, kubernetes, etcd, coreDNS, criTools, cniPlugins}
	platformProjects = []project{
		argoCD, calico, kustomize, externalDNS, prometheusOperator, prometheusServer, nodeExporter, alertmanager, kubeStateMetrics, metricsServer,
		loadBalancerController,
	}
	testProjects = []project{kubernetesE2E, kubeBench}
)

var (
	kubernetes = project{
		name: "kubernetes", module: "k8s.io/kubernetes",
		packages: []command{
			{path: "cmd/kubeadm", usual: "3 minutes"}, {path: "cmd/kubelet", usual: "4 minutes"}, {path: "cmd/kubectl", usual: "a minute"},
			{path: "cmd/kube-apiserver", usual: "80 seconds"}, {path: "cmd/kube-controller-manager", usual: "half a minute"},
			{path: "cmd/kube-scheduler", usual: "10 seconds"}, {path: "cmd/kube-proxy", usual: "10 seconds"},
		},
		ldflags:   kubernetesVersion,
		published: func(version string) string { return "v0" + strings.TrimPrefix(version, "v1") },
	}
	etcd = project{
		name: "etcd", module: "go.etcd.io/etcd/server/v3",
		packages: []command{
			{path: ".", usual: "half a minute"},
			{path: ".", name: "etcdutl", module: "go.etcd.io/etcd/etcdutl/v3", usual: "20 seconds"},
			{path: ".", name: "etcdctl", module: "go.etcd.io/etcd/etcdctl/v3", usual: "20 seconds"},
		},
	}
	coreDNS = project{
		name: "coredns", module: "github.com/coredns/coredns",
		packages: []command{{path: ".", usual: "2 minutes", tags: "grpcnotrace"}},
	}
	containerd = project{
		name: "containerd", module: "github.com/containerd/containerd/v2",
		packages: []command{
			{path: "cmd/containerd", usual: "2 minutes"}, {path: "cmd/ctr", usual: "10 seconds"},
			// With upstream's tag. The size matters, because each pod has a shim in memory.
			{path: "cmd/containerd-shim-runc-v2", usual: "20 seconds", tags: "no_grpc"},
		},
		ldflags: func(version string) string {
			return " -X github.com/containerd/containerd/v2/version.Version=" + strings.TrimPrefix(version, "v")
		},
	}
	criTools = project{
		name: "cri-tools", module: "sigs.k8s.io/cri-tools",
		packages: []command{{path: "cmd/crictl", usual: "half a minute"}},
		ldflags: func(version string) string {
			return " -X sigs.k8s.io/cri-tools/pkg/version.Version=" + version
		},
	}
	cniPlugins = project{
		name: "cni-plugins", module: "github.com/containernetworking/plugins",
		packages: []command{
			{path: "plugins/main/bridge", usual: "10 seconds"}, {path: "plugins/main/loopback", usual: "a second"},
			{path: "plugins/main/ptp", usual: "a second"}, {path: "plugins/ipam/host-local", usual: "a second"},
			{path: "plugins/meta/portmap", usual: "a second"}, {path: "plugins/meta/bandwidth", usual: "a second"},
			{path: "plugins/meta/firewall", usual: "a second"}, {path: "plugins/meta/tuning", usual: "a second"},
		},
		ldflags: func(version string) string {
			return " -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=" + version
		},
	}
	argoCD = project{
		name: "argocd", module: "github.com/argoproj/argo-cd/v3",
		// One binary for all of Argo CD's commands, which it tells apart by the name it is called by.
		packages: []command{{path: "cmd", name: "argocd", usual: "6 minutes"}},
		ldflags: func(version string) string {
			return " -X github.com/argoproj/argo-cd/v3/common.version=" + strings.TrimPrefix(version, "v")
		},
	}
	kustomize = project{
		name: "kustomize", module: "sigs.k8s.io/kustomize/kustomize/v5",
		packages: []command{{path: ".", usual: "half a minute"}},
		ldflags: func(version string) string {
			return " -X sigs.k8s.io/kustomize/api/provenance.version=" + version
		},
	}
)

// kubernetesVersion returns linker flags that set the version in Kubernetes' programs.
func kubernetesVersion(version string) string {
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	flags := ""
	for _, stamp := range []string{
		"gitVersion=" + version, "gitMajor=" + numbers[0], "gitMinor=" + numbers[1], "gitTreeState=clean",
	} {
		flags += " -X k8s.io/component-base/version." + stamp
	}
	return flags
}

// Built is an upstream project whose binaries have been built into the user's cache directory.
type Built struct {
	// Version is the module's version, with the "v": "v1.36.5".
	Version string
	project project
	// module is the directory of the module that pins it, and dir that of the binaries.
	module, dir string
}

// Binary returns the path of one of the project's binaries.
func (b Built) Binary(name string) string { return filepath.Join(b.dir, name) }

// Source returns the directory of the project's module, which has upstream's files unchanged, such as manifests.
func (b Built) Source(ctx context.Context) (string, error) {
	return toolchain.ModuleDir(ctx, b.module, b.project.module)
}

// Source returns the directory of a project's module, like Built.Source, whether the project has been built or not.
func Source(ctx context.Context, repo, name string) (string, error) {
	p, err := projectNamed(name)
	if err != nil {
		return "", err
	}
	return Built{project: p, module: filepath.Join(modulesOf(repo), name)}.Source(ctx)
}

// BuildProject builds the missing binaries of a project that Create does not build. repo is the checkout of the whole
// repository. version is the module version that the caller is written for; it must be the one that is pinned. Progress
// goes to out.
func BuildProject(ctx context.Context, repo, name, version string, out io.Writer) (Built, error) {
	p, err := projectNamed(name)
	if err != nil {
		return Built{}, err
	}
	// Checked before minutes are spent on building the wrong version.
	module := filepath.Join(modulesOf(repo), name)
	switch pinned, err := p.version(module); {
	case err != nil:
		return Built{}, err
	case pinned != version:
		return Built{}, fmt.Errorf("adding %s to the mirror: rehearsal/supply/mirror/build/%s pins %s, but the rehearsal is written for %s; make them agree",
			name, name, pinned, version)
	}
	cache, unlock, err := lockedCache(ctx, out)
	if err != nil {
		return Built{}, err
	}
	defer unlock()
	return p.build(ctx, out, module, cache)
}

// Missing returns how many binaries Create and BuildProject have yet to build for a cluster and its platform. also has
// the further versions that Create gets: their Kubernetes and containerd count, but not what else they may need. repo is
// the checkout of the whole repository.
func Missing(repo string, also ...config.Versions) (int, error) {
	cache, err := setup.CacheDir()
	if err != nil {
		return 0, err
	}
	// In a set, because versions may have binaries in common.
	missing := map[string]bool{}
	add := func(p project, dir string) {
		for _, command := range p.packages {
			if binary := filepath.Join(dir, command.binary(p)); !exists(binary) {
				missing[binary] = true
			}
		}
	}
	for _, p := range slices.Concat(clusterProjects, platformProjects) {
		b, err := p.locate(filepath.Join(modulesOf(repo), p.name), cache)
		if err != nil {
			return 0, err
		}
		add(p, b.dir)
	}
	for _, v := range also {
		add(kubernetes, kubernetes.binaries(cache, "v"+v.Kubernetes))
		add(containerd, containerd.binaries(cache, "v"+v.Containerd))
	}
	return len(missing), nil
}

// Find returns a project that Create or BuildProject has built. It fails if a binary is missing.
func Find(repo, name string) (Built, error) {
	p, err := projectNamed(name)
	if err != nil {
		return Built{}, err
	}
	cache, err := setup.CacheDir()
	if err != nil {
		return Built{}, err
	}
	b, err := p.locate(filepath.Join(modulesOf(repo), name), cache)
	for _, command := range p.packages {
		if binary := command.binary(p); err == nil && !exists(b.Binary(binary)) {
			err = fmt.Errorf("%s %s is not built yet; `make test` builds it", binary, b.Version)
		}
	}
	return b, err
}

func projectNamed(name string) (project, error) {
	all := slices.Concat(clusterProjects, platformProjects, testProjects)
	i := slices.IndexFunc(all, func(p project) bool { return p.name == name })
	if i < 0 {
		return project{}, fmt.Errorf("building %s: package mirror has no project of this name", name)
	}
	return all[i], nil
}

// modulesOf returns the directory of the modules that pin the projects.
func modulesOf(repo string) string {
	return filepath.Join(repo, "rehearsal", "supply", "mirror", "build")
}

// binaries returns the directory of the project's binaries of a version, which begins with "v".
func (p project) binaries(cache, version string) string {
	return filepath.Join(cache, p.name+"-"+version)
}

// locate returns the project at the version that the module pins, whether it has been built or not.
func (p project) locate(module, cache string) (Built, error) {
	version, err := p.version(module)
	return Built{Version: version, project: p, module: module, dir: p.binaries(cache, version)}, err
}

// build builds the binaries that are not in the cache yet. module is the directory of the module that pins them.
func (p project) build(ctx context.Context, out io.Writer, module, cache string) (Built, error) {
	b, err := p.locate(module, cache)
	if err != nil {
		return Built{}, err
	}
	for _, command := range p.packages {
		name := command.binary(p)
		if exists(b.Binary(name)) {
			continue
		}
		target := toolchain.Target{
			What: name + " " + b.Version, Usual: command.usual,
			Dir: module, Output: b.Binary(name), Packages: []string{path.Join(cmp.Or(command.module, p.module), command.path)},
			LDFlags: "-s -w", Tags: command.tags, Static: true, Test: command.test,
		}
		if len(p.placeholders) > 0 {
			if target.Dir, err = b.copyWithPlaceholders(ctx); err != nil {
				return Built{}, err
			}
			target.Packages = []string{"./" + command.path}
		}
		if p.ldflags != nil {
			target.LDFlags += p.ldflags(b.Version)
		}
		if err := toolchain.Compile(ctx, out, target); err != nil {
			return Built{}, err
		}
	}
	return b, nil
}

// copyWithPlaceholders copies the module's directory and adds the placeholders. The copy is necessary, because Go
// accepts no substitutes for files in its module cache.
func (b Built) copyWithPlaceholders(ctx context.Context) (dir string, err error) {
	source, err := b.Source(ctx)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(b.dir, "source")
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("copying the source of %s: %w", b.project.name, err)
	}
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		return "", fmt.Errorf("copying the source of %s: %w", b.project.name, err)
	}
	for _, name := range b.project.placeholders {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", fmt.Errorf("completing the source of %s: %w", b.project.name, err)
		}
		if err := os.WriteFile(file, []byte("not built for the rehearsal\n"), 0o644); err != nil {
			return "", fmt.Errorf("completing the source of %s: %w", b.project.name, err)
		}
	}
	return dir, nil
}

// version returns the version of the project that a module pins.
func (p project) version(module string) (string, error) {
	file := filepath.Join(module, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the pinned version of %s: %w", p.name, err)
	}
	parsed, err := modfile.ParseLax(file, data, nil)
	if err != nil {
		return "", fmt.Errorf("reading the pinned version of %s: %w", p.name, err)
	}
	for _, require := range parsed.Require {
		if require.Mod.Path == p.module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("reading the pinned version of %s: %s does not require %s", p.name, file, p.module)
}
