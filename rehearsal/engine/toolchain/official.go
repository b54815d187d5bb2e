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

// Plugins selects the plugins that the engine runs. The one for AWS is always the model.
type Plugins string

// The values of Plugins.
const (
	// StandInPlugins selects the rehearsal's own plugins, which work at every level.
	StandInPlugins Plugins = "stand-in"
	// OfficialPlugins selects Pulumi's own plugins and language host. They need real machines.
	OfficialPlugins Plugins = "official"
)

// ParsePlugins parses the value of PLUGINS.
func ParsePlugins(text string) (Plugins, error) {
	switch plugins := Plugins(text); plugins {
	case StandInPlugins, OfficialPlugins:
		return plugins, nil
	default:
		return "", fmt.Errorf("PLUGINS is %s or %s, not %q", StandInPlugins, OfficialPlugins, text)
	}
}

// replaceable are the providers whose stand-in can be replaced with Pulumi's own plugin.
var replaceable = []string{"command", "kubernetes"}

// Official holds the paths of Pulumi's own programs on this machine.
type Official struct {
	// pulumi is the path of the pulumi command. The engine looks for language hosts in its directory.
	pulumi string
	// plugins maps providers to the paths of their plugins.
	plugins map[string]string
}

// FindOfficial finds Pulumi's own command with its language host, and the plugins where Pulumi installs them, in
// exactly the versions that the program's SDKs request. Its error names everything that is missing, and how to install
// it.
func FindOfficial(ctx context.Context) (Official, error) {
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return Official{}, fmt.Errorf("finding Pulumi's home: %w", err)
		}
		home = filepath.Join(user, ".pulumi")
	}
	home, err := filepath.Abs(home) // symbolic links in other directories will point to it
	if err != nil {
		return Official{}, fmt.Errorf("finding Pulumi's home: %w", err)
	}
	found := Official{pulumi: officialPulumi(ctx, home), plugins: map[string]string{}}
	var missing []string
	if found.pulumi == "" {
		missing = append(missing, fmt.Sprintf("pulumi %s or newer, with %s in the same directory: https://www.pulumi.com/docs/install/",
			strings.TrimPrefix(PulumiVersion, "v"), languageHost))
	}
	for _, name := range replaceable {
		version := plugins[name]
		dir := filepath.Join(home, "plugins", "resource-"+name+"-"+version)
		path := filepath.Join(dir, "pulumi-resource-"+name)
		// Pulumi keeps the file .partial until it has unpacked the plugin.
		if !executable(path) || exists(dir+".partial") {
			version = strings.TrimPrefix(version, "v")
			missing = append(missing, fmt.Sprintf("plugin %s %s: pulumi plugin install resource %s %s", name, version, name, version))
		}
		found.plugins[name] = path
	}
	if missing != nil {
		return Official{}, fmt.Errorf("PLUGINS=%s: these are neither on PATH nor in %s; install each as described:\n  %s",
			OfficialPlugins, home, strings.Join(missing, "\n  "))
	}
	return found, nil
}

const languageHost = "pulumi-language-go"

// officialPulumi returns the path of a pulumi command that is at least as new as the SDK and has the language host in
// the same directory, as Pulumi ships the two. It prefers one on PATH to the one in Pulumi's home. It is empty if there
// is none.
func officialPulumi(ctx context.Context, home string) string {
	candidates := []string{filepath.Join(home, "bin", "pulumi")}
	if path, err := exec.LookPath("pulumi"); err == nil {
		candidates = slices.Insert(candidates, 0, path)
	}
	for _, path := range candidates {
		path, err := filepath.EvalSymlinks(path)
		if err == nil && executable(filepath.Join(filepath.Dir(path), languageHost)) && isCompatible(ctx, path) {
			return path
		}
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// With returns this toolchain with Pulumi's own command, language host and plugins. It has a separate home, so that it
// does not replace the plugins of a run with the stand-ins.
func (t Toolchain) With(o Official) (Toolchain, error) {
	t.Pulumi, t.Home, t.official = o.pulumi, t.Home+"-official", true
	binaries := standIns(t.bin)
	maps.Copy(binaries, o.plugins)
	return t, linkPlugins(t.Home, plugins, binaries)
}
