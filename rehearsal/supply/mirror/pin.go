package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"

	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/progress"
)

// pins finds the modules that pin the versions of projects.
type pins struct {
	// modules is the directory build/ of the checkout. build/NAME pins the version of a project that is built by
	// default, and build/NAME-VERSION may pin another.
	modules string
	// cache is the directory in which modules for further versions are made.
	cache string
	// derive permits versions that no module in the checkout pins.
	derive bool
	out    io.Writer
}

// module returns the directory of a module that pins the project at a version, which has no "v" before it. Of a version
// without a patch level it pins the newest release. It makes the module if that is permitted and none exists.
func (p pins) module(ctx context.Context, of project, version string) (string, error) {
	dir, err := p.find(of, version)
	if err != nil || exists(dir) {
		return dir, err
	}
	if !p.derive {
		built, err := p.committed(of)
		if err != nil {
			return "", err
		}
		return "", fmt.Errorf("%s %s is required, but the rehearsal builds only %s; pin it in rehearsal/supply/mirror/build/%s, or set other versions in eco2:versions",
			of.name, version, strings.Join(built, " and "), of.name)
	}
	step := progress.Start(p.out, "pinning what "+of.name+" "+version+" is built from")
	err = deriveModule(ctx, dir, of, version)
	step.End(err)
	if err != nil {
		return "", fmt.Errorf("pinning what %s %s is built from: %w; use a version that is released, or pin it in rehearsal/supply/mirror/build/%s-%s",
			of.name, version, err, of.name, version)
	}
	return dir, nil
}

// find returns the directory of the module that pins the project at a version: one of the checkout if there is one,
// otherwise the one that is or would be made in the cache.
func (p pins) find(of project, version string) (string, error) {
	byDefault, err := of.version(filepath.Join(p.modules, of.name))
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(byDefault+".", "v"+version+".") {
		return filepath.Join(p.modules, of.name), nil
	}
	if dir := filepath.Join(p.modules, of.name+"-"+version); exists(dir) {
		return dir, nil
	}
	return filepath.Join(p.cache, "modules", of.name+"-"+version), nil
}

// committed returns the versions of a project that modules of the checkout pin, the default first.
func (p pins) committed(of project) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(p.modules, of.name+"-[0-9]*"))
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, dir := range append([]string{filepath.Join(p.modules, of.name)}, dirs...) {
		version, err := of.version(dir)
		if err != nil {
			return nil, err
		}
		versions = append(versions, strings.TrimPrefix(version, "v"))
	}
	return versions, nil
}

// build builds the missing binaries of a project at a version, which has no "v" before it.
func (p pins) build(ctx context.Context, of project, version string) (Built, error) {
	dir, err := p.module(ctx, of, version)
	if err != nil {
		return Built{}, err
	}
	return of.build(ctx, p.out, dir, p.cache)
}

// deriveModule makes a module that pins a project at a version, with the dependencies that upstream's own go.mod
// requires. Go compares what it downloads with its checksum database, unless the user has turned that off. The module
// gets its final name only when it is complete.
func deriveModule(ctx context.Context, dir string, of project, version string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(dir), ".pinning-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }() // gone unless this failed
	upstream, err := downloadGoMod(ctx, scratch, of.module+"@v"+version)
	if err != nil {
		return err
	}
	derived, err := of.derive(upstream)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(scratch, "go.mod"), derived, 0o644); err != nil { //nolint:gosec // it is no secret
		return err
	}
	if _, err := runGo(ctx, scratch, "mod", "tidy"); err != nil {
		return err
	}
	return os.Rename(scratch, dir)
}

// upstreamModule is a module at a version, with its own go.mod.
type upstreamModule struct {
	version string
	goMod   *modfile.File
}

// downloadGoMod downloads module@version, where the version may lack its patch level. dir must be in no module.
func downloadGoMod(ctx context.Context, dir, query string) (upstreamModule, error) {
	output, err := runGo(ctx, dir, "mod", "download", "-json", query)
	// Go reports an error of the module within its JSON output.
	var found struct{ Version, GoMod, Error string }
	if parseErr := json.Unmarshal(output, &found); found.Error != "" {
		return upstreamModule{}, errors.New(found.Error)
	} else if err = errors.Join(err, parseErr); err != nil {
		return upstreamModule{}, err
	}
	data, err := os.ReadFile(found.GoMod)
	if err != nil {
		return upstreamModule{}, err
	}
	goMod, err := modfile.ParseLax(found.GoMod, data, nil)
	return upstreamModule{found.Version, goMod}, err
}

// derive returns the go.mod of a module that pins the project as upstream builds it.
func (p project) derive(upstream upstreamModule) ([]byte, error) {
	derived := &modfile.File{}
	err := derived.AddModuleStmt("eco2/rehearsal/supply/mirror/build/" + p.name)
	if upstream.goMod.Go != nil {
		err = errors.Join(err, derived.AddGoStmt(upstream.goMod.Go.Version))
	}
	err = errors.Join(err, derived.AddRequire(p.module, upstream.version))
	for _, require := range upstream.goMod.Require {
		// Upstream replaces these with directories of its repository, and publishes each as a module of its own.
		if require.Mod.Version == "v0.0.0" {
			if p.published == nil {
				return nil, fmt.Errorf("%s requires %s without a version", p.module, require.Mod.Path)
			}
			err = errors.Join(err, derived.AddRequire(require.Mod.Path, p.published(upstream.version)))
		}
	}
	for _, command := range p.packages {
		err = errors.Join(err, derived.AddTool(path.Join(p.module, command.path)))
	}
	if err != nil {
		return nil, err
	}
	derived.Cleanup()
	return derived.Format()
}

// runGo runs the Go tool and returns its standard output. An error has what it wrote to standard error, except which
// modules it downloaded.
func runGo(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w%s", strings.Join(args, " "), err, toolchain.WithoutDownloads(problems.String()))
	}
	return output, err
}
