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
	"strings"

	"eco2/config"
	"eco2/rehearsal/internal/filelock"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply/mirror/server"
)

// recipe is part of the mirror's name in the cache. Increment it when the same versions are packed differently, so that
// a mirror in the cache is not reused.
const recipe = 3

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
func Create(ctx context.Context, repo string, v config.Versions, out io.Writer) (Mirror, error) {
	cache, unlock, err := lockedCache(ctx, out)
	if err != nil {
		return Mirror{}, err
	}
	defer unlock()

	modules := modulesOf(repo)
	// Checked before a quarter of an hour is spent on building the wrong versions.
	if err := errors.Join(kubernetes.checkVersion(v.Kubernetes, modules), containerd.checkVersion(v.Containerd, modules)); err != nil {
		return Mirror{}, err
	}
	projects := map[string]Built{}
	for _, p := range clusterProjects {
		if projects[p.name], err = p.build(ctx, out, modules, cache); err != nil {
			return Mirror{}, err
		}
	}

	m := Mirror{
		Dir:     filepath.Join(cache, fmt.Sprintf("mirror-%d-kubernetes-%s-containerd-%s", recipe, v.Kubernetes, v.Containerd)),
		kubectl: projects["kubernetes"].Binary("kubectl"),
	}
	s := sources{built: projects, debian: debian{dir: filepath.Join(cache, "debian-"+suite), out: out}, rehearsal: filepath.Join(repo, "rehearsal"), cache: cache, out: out}
	if m.Keys, err = m.addRepositories(ctx, s); err != nil {
		return Mirror{}, err
	}
	return m, m.addClusterImages(ctx, s)
}

// sources holds what packages and images are made from.
type sources struct {
	built  map[string]Built
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
