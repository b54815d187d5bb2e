// Package mirror makes what the rehearsal's machines use instead of the internet: package repositories and container
// images with upstream's names and versions, built from Go modules or taken from Debian. The program's scripts use them
// through its mirror setting.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"eco2/config"
	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/mirror/server"
)

// recipe is part of the mirror's name in the cache. Increment it when the same versions are packed differently, so that
// a mirror in the cache is not reused.
const recipe = 4

// Mirror is a directory in the format that package server serves.
type Mirror struct {
	Dir string
	// Keys holds the fingerprints of the keys of the package repositories, as the program's mirror.keys. It is empty if
	// the Mirror was not returned by Create, and so is Kubectl.
	Keys    map[string]string
	kubectl string
}

// Kubectl returns the path of a kubectl for this host that has the cluster's version. It is empty if the Mirror was not
// returned by Create.
func (m Mirror) Kubectl() string { return m.kubectl }

func (m Mirror) layout() server.Dir { return server.Dir(m.Dir) }

// Create builds the binaries, packages and images of a cluster that are missing in the user's cache directory, and
// keeps them there: the first run takes a quarter of an hour on two cores, the next a moment. repo is the checkout of
// the whole repository, and progress goes to out. A part gets its final name only when it is complete, so a run resumes
// where an interrupted one stopped.
//
// The mirror also has the packages and images of the versions in also, so that a cluster can be upgraded. Only their
// Kubernetes and Containerd matter. If no module in the checkout pins one of them, a module is made in the cache; the
// versions in v must be pinned.
func Create(ctx context.Context, repo string, v config.Versions, out io.Writer, also ...config.Versions) (Mirror, error) {
	cache, unlock, err := lockedCache(ctx, out)
	if err != nil {
		return Mirror{}, err
	}
	defer unlock()

	p := pins{modules: modulesOf(repo), cache: cache, out: out}
	s := sources{debian: debian{dir: filepath.Join(cache, "debian-"+suite), out: out}, rehearsal: filepath.Join(repo, "rehearsal"), cache: cache, out: out}
	all := []sources{s}
	if all[0].built, all[0].images, err = p.buildCluster(ctx, v); err != nil {
		return Mirror{}, err
	}
	p.derive = true
	for _, other := range also {
		if s.built, s.images, err = p.buildCluster(ctx, other); err != nil {
			return Mirror{}, err
		}
		all = append(all, s)
	}

	m := Mirror{Dir: filepath.Join(cache, directory(append(also, v))), kubectl: all[0].binary("kubernetes", "kubectl")}
	if m.Keys, err = m.addRepositories(ctx, all); err != nil {
		return Mirror{}, err
	}
	for _, s := range all {
		if err := m.addClusterImages(ctx, s); err != nil {
			return Mirror{}, err
		}
	}
	return m, nil
}

// directory returns the name of the mirror of these versions in the cache.
func directory(all []config.Versions) string {
	var kubernetes, containerd []string
	for _, v := range all {
		kubernetes, containerd = append(kubernetes, v.Kubernetes), append(containerd, v.Containerd)
	}
	distinct := func(versions []string) string {
		slices.Sort(versions)
		return strings.Join(slices.Compact(versions), "-")
	}
	return fmt.Sprintf("mirror-%d-kubernetes-%s-containerd-%s", recipe, distinct(kubernetes), distinct(containerd))
}

// buildCluster builds what a cluster of these versions consists of, and returns it by the names of the projects. images
// are those that its kubeadm pulls.
func (p pins) buildCluster(ctx context.Context, v config.Versions) (built map[string]Built, images []string, err error) {
	// Checked before a quarter of an hour is spent on building the wrong versions.
	_, kubernetesErr := p.module(ctx, kubernetes, v.Kubernetes)
	_, containerdErr := p.module(ctx, containerd, v.Containerd)
	if err := errors.Join(kubernetesErr, containerdErr); err != nil {
		return nil, nil, err
	}
	built = map[string]Built{}
	build := func(of project, version string) {
		if err == nil {
			built[of.name], err = p.build(ctx, of, version)
		}
	}
	build(containerd, v.Containerd)
	build(kubernetes, v.Kubernetes)
	if err != nil {
		return nil, nil, err
	}
	if images, err = clusterImages(ctx, built["kubernetes"]); err != nil {
		return nil, nil, fmt.Errorf("asking kubeadm for its images: %w", err)
	}
	for _, of := range []project{etcd, coreDNS} {
		build(of, taggedVersion(images, of.name))
	}
	// It has the minor versions of Kubernetes, and prepare.sh installs any patch version of the same one.
	build(criTools, v.Kubernetes[:strings.LastIndexByte(v.Kubernetes, '.')])
	if err == nil {
		built[cniPlugins.name], err = cniPlugins.build(ctx, p.out, filepath.Join(p.modules, cniPlugins.name), p.cache)
	}
	return built, images, err
}

// sources holds what the packages and images of a version are made from.
type sources struct {
	built map[string]Built
	// images are those that kubeadm pulls.
	images []string
	debian debian
	// rehearsal is the directory of the rehearsal's module.
	rehearsal string
	cache     string
	out       io.Writer
}

// binary returns the path of a project's built binary.
func (s sources) binary(project, name string) string { return s.built[project].Binary(name) }

// version returns a project's version without the "v".
func (s sources) version(project string) string {
	return strings.TrimPrefix(s.built[project].Version, "v")
}

// AddFile adds a file to the mirror, in the place of https://HOST/PATH.
func (m Mirror) AddFile(url string, data []byte) error {
	if err := writeFile(m.layout().File(url), data); err != nil {
		return fmt.Errorf("adding %s to the mirror: %w", url, err)
	}
	return nil
}

// writeFile replaces a file atomically.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockedCache locks the cache directory for building, and returns it.
func lockedCache(ctx context.Context, out io.Writer) (cache string, unlock func(), err error) {
	if cache, err = setup.CacheDir(); err != nil {
		return "", nil, err
	}
	waiting := func() {
		_, _ = fmt.Fprintln(out, "waiting for another run that is preparing the mirror") // lost progress is no failure
	}
	if unlock, err = filelock.LockContext(ctx, filepath.Join(cache, "mirror.lock"), waiting); err != nil {
		return "", nil, fmt.Errorf("locking the cache of the mirror: %w", err)
	}
	return cache, unlock, nil
}
