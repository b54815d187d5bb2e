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

	"eco2/rehearsal/toolchain"
)

// project is an upstream project whose binaries are built from its Go module.
type project struct {
	// name is the folder below build/ whose go.mod pins the project, and module the line in it that counts.
	name, module string
	// packages are the commands to build, below the module, with how long each takes with empty caches on
	// two cores, in this order: the first of a project compiles what the others share.
	packages []command
	// ldflags say which version a binary is, where it cannot know.
	ldflags func(version string) string
	// placeholders are files that a binary embeds and that the module does not carry, such as built pages.
	placeholders []string
}

// command is a package of a project. Its binary has the name that `go build` would give it, or its own.
type command struct {
	path, name, usual, tags string
	// module is the package's where that is not the project's own.
	module string
	// test is whether the binary is that of the package's tests.
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

// clusterProjects are what machines and kubeadm need, platformProjects what runs in the cluster after that, and
// testProjects what tests a cluster.
var (
	clusterProjects  = []project{containerd, kubernetes, etcd, coreDNS, criTools, cniPlugins}
	platformProjects = []project{
		argoCD, calico, kustomize, externalDNS, prometheusOperator, prometheusServer, nodeExporter, alertmanager, kubeStateMetrics, metricsServer,
		loadBalancerController,
	}
	testProjects = []project{kubernetesE2E}
)

var (
	kubernetes = project{
		name: "kubernetes", module: "k8s.io/kubernetes",
		packages: []command{
			{path: "cmd/kubeadm", usual: "3 minutes"}, {path: "cmd/kubelet", usual: "4 minutes"}, {path: "cmd/kubectl", usual: "a minute"},
			{path: "cmd/kube-apiserver", usual: "80 seconds"}, {path: "cmd/kube-controller-manager", usual: "half a minute"},
			{path: "cmd/kube-scheduler", usual: "10 seconds"}, {path: "cmd/kube-proxy", usual: "10 seconds"},
		},
		ldflags: kubernetesVersion,
	}
	etcd = project{
		name: "etcd", module: "go.etcd.io/etcd/server/v3",
		packages: []command{{path: ".", usual: "half a minute"}},
	}
	coreDNS = project{
		name: "coredns", module: "github.com/coredns/coredns",
		packages: []command{{path: ".", usual: "2 minutes", tags: "grpcnotrace"}},
	}
	containerd = project{
		name: "containerd", module: "github.com/containerd/containerd/v2",
		packages: []command{
			{path: "cmd/containerd", usual: "2 minutes"}, {path: "cmd/ctr", usual: "10 seconds"},
			// As upstream builds it: there is one in memory for each pod.
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
		// One binary, which looks at the name by which it is called.
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

// kubernetesVersion stamps what Kubernetes' programs print.
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

// Built is an upstream project whose binaries are in the user's cache directory.
type Built struct {
	// Version is as the module has it: "v1.36.4".
	Version string
	project project
	modules string
	dir     string
}

// Binary is the path of one of the project's binaries.
func (b Built) Binary(name string) string { return filepath.Join(b.dir, name) }

// Source is the directory of the project's module: what upstream publishes beside its binaries, unchanged.
func (b Built) Source(ctx context.Context) (string, error) {
	return toolchain.ModuleDir(ctx, filepath.Join(b.modules, b.project.name), b.project.module)
}

// Build makes what is missing of a project that is no part of what Prepare builds. repo is the project's checkout,
// version what the caller is made for, as the module has it, and progress goes to out.
func Build(ctx context.Context, repo, name, version string, out io.Writer) (Built, error) {
	p, err := projectNamed(name)
	if err != nil {
		return Built{}, err
	}
	// Before minutes are spent on another one.
	switch pinned, err := p.version(modulesOf(repo)); {
	case err != nil:
		return Built{}, err
	case pinned != version:
		return Built{}, fmt.Errorf("adding %s to the mirror: rehearsal/mirror/build/%s pins %s and the rehearsal is made for %s", name, name, pinned, version)
	}
	cache, unlock, err := lockedCache(ctx, out)
	if err != nil {
		return Built{}, err
	}
	defer unlock()
	return p.build(ctx, out, modulesOf(repo), cache)
}

// Find finds what Build has built.
func Find(repo, name string) (Built, error) {
	p, err := projectNamed(name)
	if err != nil {
		return Built{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return Built{}, err
	}
	b, err := p.built(modulesOf(repo), cache)
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
		return project{}, fmt.Errorf("building %s: there is no rehearsal/mirror/build/%s that says how", name, name)
	}
	return all[i], nil
}

// modulesOf is the directory of the modules that pin the projects.
func modulesOf(repo string) string { return filepath.Join(repo, "rehearsal", "mirror", "build") }

// built says where the project's binaries are, or will be.
func (p project) built(modules, cache string) (Built, error) {
	version, err := p.version(modules)
	return Built{Version: version, project: p, modules: modules, dir: filepath.Join(cache, p.name+"-"+version)}, err
}

// build makes the binaries that are not in the cache yet. modules is the directory
// of the modules that pin them.
func (p project) build(ctx context.Context, out io.Writer, modules, cache string) (Built, error) {
	b, err := p.built(modules, cache)
	if err != nil {
		return Built{}, err
	}
	for _, command := range p.packages {
		name := command.binary(p)
		if exists(b.Binary(name)) {
			continue
		}
		target := toolchain.Target{
			What: name + " " + b.Version, Usual: command.usual + ", once",
			Dir: filepath.Join(modules, p.name), Output: b.Binary(name), Packages: []string{path.Join(cmp.Or(command.module, p.module), command.path)},
			LDFlags: "-s -w", Tags: command.tags, Static: true, Test: command.test,
		}
		if len(p.placeholders) > 0 {
			if target.Dir, err = b.complete(ctx); err != nil {
				return Built{}, err
			}
			target.Packages = []string{"./" + command.path}
		}
		if p.ldflags != nil {
			target.LDFlags += p.ldflags(b.Version)
		}
		if err := toolchain.Build(ctx, out, target); err != nil {
			return Built{}, err
		}
	}
	return b, nil
}

// complete is a copy of the module's directory that has the placeholders too. Go takes no file for one in its own
// cache of modules.
func (b Built) complete(ctx context.Context) (dir string, err error) {
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

// version is what the project's build module pins.
func (p project) version(modules string) (string, error) {
	file := filepath.Join(modules, p.name, "go.mod")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading which %s is built: %w", p.name, err)
	}
	parsed, err := modfile.ParseLax(file, data, nil)
	if err != nil {
		return "", fmt.Errorf("reading which %s is built: %w", p.name, err)
	}
	for _, require := range parsed.Require {
		if require.Mod.Path == p.module {
			return require.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("reading which %s is built: %s does not require %s", p.name, file, p.module)
}

// mustBe reports another version than the wanted one, which has no "v" before it.
func (p project) mustBe(wanted, modules string) error {
	pinned, err := p.version(modules)
	if err == nil && pinned != "v"+wanted {
		err = fmt.Errorf("the rehearsal builds %s %s and %s is asked for; take the former in eco2:versions, or pin the latter in rehearsal/mirror/build/%s",
			p.name, strings.TrimPrefix(pinned, "v"), wanted, p.name)
	}
	return err
}
