// Package toolchain finds or builds the programs that a rehearsal runs: the pulumi command, the program, and the
// stand-ins for plugins. It keeps the pulumi command in the user's cache directory, keyed by version.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/gitcli"
	"eco2/rehearsal/internal/progress"
	"eco2/rehearsal/internal/setup"
)

// PulumiVersion is the version of the engine that is built if none is installed. It must equal the version of the
// program's SDK.
const PulumiVersion = "v3.276.0"

// plugins maps the providers that the program uses to the versions of their SDKs. The engine requests exactly these
// versions of the plugins.
var plugins = map[string]string{"aws": "v6.83.2", "command": "v1.2.1", "kubernetes": "v4.30.0"}

// Toolchain holds the paths of all programs that are needed to run a stack.
type Toolchain struct {
	// Pulumi is the path of the pulumi command, Program that of the built program.
	Pulumi, Program string
	// Home is PULUMI_HOME, in which the engine finds the plugins.
	Home string

	// bin is the directory with the stand-ins.
	bin string
	// official says that Pulumi's own plugins replace stand-ins.
	official bool
}

// BuildTools builds what is missing or stale. repo is the checkout of the whole repository, stateDir the rehearsal's state
// directory, and progress goes to out.
func BuildTools(ctx context.Context, repo, stateDir string, out io.Writer) (Toolchain, error) {
	bin := filepath.Join(stateDir, "bin")
	t := Toolchain{Program: filepath.Join(bin, "eco2"), Home: filepath.Join(stateDir, "pulumi"), bin: bin}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return t, fmt.Errorf("creating the rehearsal's state directory: %w", err)
	}
	rehearsal := filepath.Join(repo, "rehearsal")
	pulumiModule := filepath.Join(rehearsal, "engine", "toolchain", "pulumi")
	installed := installedPulumi(ctx)
	cached, err := cachedPulumi()
	if err != nil {
		return t, err
	}

	progress.Plan(out, 2) // the stand-ins and the program
	if installed == "" && !exists(cached) {
		progress.Plan(out, 1)
	}
	// The stand-ins are built first and alone: that compiles the standard library, gRPC and the SDK, which the other
	// two builds share and would otherwise both compile. Meanwhile their modules are downloaded.
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return download(gctx, repo) })
	if installed == "" && !exists(cached) {
		group.Go(func() error { return download(gctx, pulumiModule) })
	}
	group.Go(func() error {
		return Compile(gctx, out, Target{
			What: "the rehearsal's plugins", Dir: rehearsal, Output: bin + string(filepath.Separator), Usual: "2 minutes",
			Packages: []string{
				"./cmd/pulumi-language-go", "./cmd/pulumi-resource-aws",
				"./cmd/pulumi-resource-command", "./cmd/pulumi-resource-kubernetes",
			},
		})
	})
	if err := group.Wait(); err != nil {
		return t, err
	}

	group, gctx = errgroup.WithContext(ctx)
	group.Go(func() error {
		return Compile(gctx, out, Target{
			What: "the program", Dir: repo, Output: t.Program, Usual: "4 minutes", Packages: []string{"."},
		})
	})
	group.Go(func() error {
		if installed != "" {
			t.Pulumi = installed
			return nil
		}
		var err error
		t.Pulumi, err = builtPulumi(gctx, out, pulumiModule, cached, bin)
		return err
	})
	if err := group.Wait(); err != nil {
		return t, err
	}
	return t, linkPlugins(t.Home, plugins, standIns(bin))
}

// ForCheckout returns this toolchain with the program of another checkout, which it builds into dir. Engine and
// stand-ins are the same. The stand-ins are also installed in the versions that the other program's SDKs request. what
// names the program in messages.
func (t Toolchain) ForCheckout(ctx context.Context, repo, dir, what string, out io.Writer) (Toolchain, error) {
	versions, err := sdkVersions(filepath.Join(repo, "go.mod"))
	if err != nil {
		return t, fmt.Errorf("finding the SDKs of %s: %w", what, err)
	}
	t.Program, t.Home = filepath.Join(dir, "eco2"), filepath.Join(dir, "pulumi")
	progress.Plan(out, 1)
	if err := Compile(ctx, out, Target{What: what, Dir: repo, Output: t.Program, Usual: "4 minutes", Packages: []string{"."}}); err != nil {
		return t, err
	}
	// The state that the other program leaves refers to its versions, and the current program to the current ones.
	for _, versions := range []map[string]string{versions, plugins} {
		if err := linkPlugins(t.Home, versions, standIns(t.bin)); err != nil {
			return t, err
		}
	}
	return t, nil
}

// sdkVersions returns the versions of the providers' SDKs that a go.mod of the program requires.
func sdkVersions(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	module, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, required := range module.Require {
		// The path is github.com/pulumi/pulumi-<name>/sdk, with the major version appended from v2 on.
		name, ok := strings.CutPrefix(required.Mod.Path, "github.com/pulumi/pulumi-")
		name, _, sdk := strings.Cut(name, "/sdk")
		if _, known := plugins[name]; ok && sdk && known {
			versions[name] = required.Mod.Version
		}
	}
	return versions, nil
}

// Environ returns the environment with which the pulumi command uses this toolchain, and no other plugins, state or
// settings of this machine.
func (t Toolchain) Environ(stateDir string) []string {
	environ := append(gitcli.Environ(), // the engine runs git to find the commit
		"PULUMI_HOME="+t.Home,
		// Pulumi writes the state atomically, but not the metadata file next to it: a run that was killed at that
		// moment left an empty one, and a state that could not be read.
		"PULUMI_BACKEND_URL=file://"+filepath.Join(stateDir, "backend")+"?metadata=skip",
		"PULUMI_SKIP_UPDATE_CHECK=true",
		// By default the engine keeps 500 MB of logs.
		"PULUMI_LOG_ROTATION_MAX_TOTAL_MB=50",
		// Fail at once if a plugin is missing, instead of searching for it on the internet.
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true",
		plugin.StateDirEnv+"="+stateDir,
	)
	if t.official {
		// Plugins on PATH would take precedence otherwise.
		environ = append(environ, "PULUMI_IGNORE_AMBIENT_PLUGINS=true")
	}
	return environ
}

// installedPulumi returns the path of a pulumi on PATH that is at least as new as the SDK. It is empty if there is
// none.
func installedPulumi(ctx context.Context) string {
	path, err := exec.LookPath("pulumi")
	if err != nil || !isCompatible(ctx, path) {
		return ""
	}
	return path
}

// isCompatible reports whether a pulumi command is at least as new as the SDK.
func isCompatible(ctx context.Context, path string) bool {
	output, err := exec.CommandContext(ctx, path, "version").Output()
	return err == nil && satisfies(strings.TrimSpace(string(output)), PulumiVersion)
}

// satisfies reports whether a version has the same major version as the required one and is not older.
func satisfies(version, required string) bool {
	have, want := numbers(version), numbers(required)
	if have == nil || have[0] != want[0] {
		return false
	}
	for i := 1; i < len(want); i++ {
		if have[i] != want[i] {
			return have[i] > want[i]
		}
	}
	return true
}

// numbers returns the three parts of a version like v1.2.3, or nil for anything else. A pre-release counts as its
// release.
func numbers(version string) []int {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	fields := strings.Split(version, ".")
	if len(fields) != 3 {
		return nil
	}
	out := make([]int, len(fields))
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil
		}
		out[i] = n
	}
	return out
}

// cachedPulumi returns the path in the user's cache directory at which the engine is kept once it is built.
func cachedPulumi() (string, error) {
	cache, err := setup.CacheDir()
	return filepath.Join(cache, "pulumi-"+PulumiVersion, "pulumi"), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// builtPulumi builds the engine from its module, once for each version on this machine, and returns the path of a copy
// in bin.
func builtPulumi(ctx context.Context, out io.Writer, module, cached, bin string) (string, error) {
	if !exists(cached) {
		err := Compile(ctx, out, Target{
			What: "pulumi " + PulumiVersion, Dir: module, Output: cached, Usual: "5 minutes",
			Packages: []string{"github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
			// Without a version the command cannot check whether a plugin or the SDK is compatible.
			LDFlags: "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=" + PulumiVersion,
		})
		if err != nil {
			return "", err
		}
	}
	// The command looks for language hosts in its own directory, and bin has the rehearsal's. With a symbolic link it
	// would look in the cache directory.
	path := filepath.Join(bin, "pulumi")
	if same(cached, path) {
		return path, nil
	}
	if err := os.RemoveAll(path); err != nil {
		return "", fmt.Errorf("replacing %s: %w", path, err)
	}
	if err := os.Link(cached, path); err != nil {
		if err := copyFile(cached, path); err != nil {
			return "", fmt.Errorf("copying pulumi out of the cache: %w", err)
		}
	}
	return path, nil
}

// same reports whether b is the same file as a, or a copy of it.
func same(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	if err != nil {
		return false
	}
	return os.SameFile(first, second) || (first.Size() == second.Size() && !second.ModTime().Before(first.ModTime()))
}

func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	_, err = io.Copy(target, source)
	return err
}

// standIns returns the paths of the rehearsal's own plugins, by provider.
func standIns(bin string) map[string]string {
	binaries := map[string]string{}
	for name := range plugins {
		binaries[name] = filepath.Join(bin, "pulumi-resource-"+name)
	}
	return binaries
}

// linkPlugins creates links to plugins where the engine looks for installed ones. It would find plugins on PATH too,
// but print a warning each time.
func linkPlugins(home string, versions, binaries map[string]string) error {
	for name, version := range versions {
		dir := filepath.Join(home, "plugins", "resource-"+name+"-"+version)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("installing the %s plugin: %w", name, err)
		}
		link := filepath.Join(dir, "pulumi-resource-"+name)
		if err := os.RemoveAll(link); err != nil {
			return fmt.Errorf("installing the %s plugin: %w", name, err)
		}
		if err := os.Symlink(binaries[name], link); err != nil {
			return fmt.Errorf("installing the %s plugin: %w", name, err)
		}
	}
	return nil
}
