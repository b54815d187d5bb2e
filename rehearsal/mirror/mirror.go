// Package mirror makes what the rehearsal's machines have in place of the internet: the package repositories
// and container images that the program's scripts ask for, under upstream's names and versions, built from
// Go modules or taken from Debian. The program reaches it through its own mirror setting.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"eco2/rehearsal/mirror/server"
)

// recipe is part of the mirror's name in the cache. It must change when the same versions are packed in
// another way.
const recipe = 2

// Versions are those that the program installs, without a "v" before them.
type Versions struct{ Kubernetes, Containerd string }

// Mirror is a directory that package server serves.
type Mirror struct {
	Dir     string
	kubectl string
}

// Kubectl is the path of a kubectl of the cluster's version for this host. Only Prepare knows it.
func (m Mirror) Kubectl() string { return m.kubectl }

func (m Mirror) layout() server.Dir { return server.Dir(m.Dir) }

// Prepare builds what is missing, into the user's cache directory, where it stays: the first time takes a
// quarter of an hour on two cores, the next a moment. repo is the project's checkout, and progress goes to out.
// Each part appears under its name when it is complete, so a run that was interrupted goes on.
func Prepare(ctx context.Context, repo string, v Versions, out io.Writer) (Mirror, error) {
	cache, unlock, err := lockedCache(ctx, out)
	if err != nil {
		return Mirror{}, err
	}
	defer unlock()

	modules := modulesOf(repo)
	// Before a quarter of an hour is spent on the wrong ones.
	if err := errors.Join(kubernetes.mustBe(v.Kubernetes, modules), containerd.mustBe(v.Containerd, modules)); err != nil {
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
	if err := m.addRepositories(ctx, s); err != nil {
		return Mirror{}, err
	}
	return m, m.addClusterImages(ctx, s)
}

// sources are what packages and images are made of.
type sources struct {
	built  map[string]Built
	debian debian
	// rehearsal is the directory of the rehearsal's module.
	rehearsal string
	cache     string
	out       io.Writer
}

// binary is a built one's path.
func (s sources) binary(project, name string) string { return s.built[project].Binary(name) }

// version is a project's, without the "v" before it.
func (s sources) version(project string) string {
	return strings.TrimPrefix(s.built[project].Version, "v")
}

// AddFile serves data in the place of https://HOST/PATH.
func (m Mirror) AddFile(url string, data []byte) error {
	if err := writeFile(m.layout().File(url), data); err != nil {
		return fmt.Errorf("adding %s to the mirror: %w", url, err)
	}
	return nil
}

// writeFile replaces a file as a whole: nobody reads half of one.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// cacheDir is where the rehearsal keeps what it has built.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache directory: %w", err)
	}
	return filepath.Join(dir, "eco2"), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// lockedCache is cacheDir, with what is built in it locked.
func lockedCache(ctx context.Context, out io.Writer) (cache string, unlock func(), err error) {
	if cache, err = cacheDir(); err != nil {
		return "", nil, err
	}
	if unlock, err = lock(ctx, filepath.Join(cache, "mirror.lock"), out); err != nil {
		return "", nil, fmt.Errorf("locking the cache of the mirror: %w", err)
	}
	return cache, unlock, nil
}

// lock keeps two runs from building the same; the kernel lets go of it when a run is killed.
func lock(ctx context.Context, path string, out io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // nothing was written
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		if !waiting {
			say(out, "waiting for another run, which prepares the mirror")
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), file.Close())
		case <-time.After(time.Second):
		}
	}
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
