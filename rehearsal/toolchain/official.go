package toolchain

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Plugins says whose plugins the engine runs. The one for AWS is always the model.
type Plugins string

// The plugins.
const (
	// StandInPlugins come with the rehearsal, and work at every level.
	StandInPlugins Plugins = "stand-in"
	// OfficialPlugins are Pulumi's own, with its language host. They need real machines.
	OfficialPlugins Plugins = "official"
)

// ParsePlugins reads them by their name.
func ParsePlugins(text string) (Plugins, error) {
	switch plugins := Plugins(text); plugins {
	case StandInPlugins, OfficialPlugins:
		return plugins, nil
	default:
		return "", fmt.Errorf("PLUGINS is %s or %s, not %q", StandInPlugins, OfficialPlugins, text)
	}
}

// replaceable are the packages of resources whose stand-in can give way to Pulumi's own plugin.
var replaceable = []string{"command", "kubernetes"}

// Official is what Pulumi installed on this machine.
type Official struct {
	// pulumi is the command's path. The engine looks for language hosts beside it.
	pulumi string
	// plugins are paths by the names of their packages.
	plugins map[string]string
}

// FindOfficial finds Pulumi's own command with its language host, and the plugins of exactly the versions that the
// program's SDKs ask for, where Pulumi installs them. Its error names everything that is missing, and how to install it.
func FindOfficial(ctx context.Context) (Official, error) {
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return Official{}, fmt.Errorf("finding Pulumi's home: %w", err)
		}
		home = filepath.Join(user, ".pulumi")
	}
	home, err := filepath.Abs(home) // links to it are elsewhere
	if err != nil {
		return Official{}, fmt.Errorf("finding Pulumi's home: %w", err)
	}
	found := Official{pulumi: officialPulumi(ctx, home), plugins: map[string]string{}}
	var missing []string
	if found.pulumi == "" {
		missing = append(missing, fmt.Sprintf("pulumi %s or newer, with %s beside it: https://www.pulumi.com/docs/install/",
			strings.TrimPrefix(PulumiVersion, "v"), languageHost))
	}
	for _, name := range replaceable {
		version := plugins[name]
		dir := filepath.Join(home, "plugins", "resource-"+name+"-"+version)
		path := filepath.Join(dir, "pulumi-resource-"+name)
		// Pulumi has that file there until it has unpacked the plugin.
		if !executable(path) || exists(dir+".partial") {
			version = strings.TrimPrefix(version, "v")
			missing = append(missing, fmt.Sprintf("plugin %s %s: pulumi plugin install resource %s %s", name, version, name, version))
		}
		found.plugins[name] = path
	}
	if missing != nil {
		return Official{}, fmt.Errorf("PLUGINS=%s needs what is neither on PATH nor in %s; install it as said beside it:\n  %s",
			OfficialPlugins, home, strings.Join(missing, "\n  "))
	}
	return found, nil
}

const languageHost = "pulumi-language-go"

// officialPulumi is the path of a pulumi that has the language host beside it, as Pulumi ships the two, and is as new as
// the SDK: one on PATH, or the one in Pulumi's home. Empty if there is none.
func officialPulumi(ctx context.Context, home string) string {
	candidates := []string{filepath.Join(home, "bin", "pulumi")}
	if path, err := exec.LookPath("pulumi"); err == nil {
		candidates = slices.Insert(candidates, 0, path)
	}
	for _, path := range candidates {
		path, err := filepath.EvalSymlinks(path)
		if err == nil && executable(filepath.Join(filepath.Dir(path), languageHost)) && fitting(ctx, path) {
			return path
		}
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// With is this toolchain with Pulumi's own command, language host and plugins. It has a home of its own: a run with the
// stand-ins keeps these while it lasts.
func (t Toolchain) With(o Official) (Toolchain, error) {
	t.Pulumi, t.Home, t.official = o.pulumi, t.Home+"-official", true
	binaries := standIns(t.bin)
	maps.Copy(binaries, o.plugins)
	return t, linkPlugins(t.Home, plugins, binaries)
}
