package toolchain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// install writes an executable file.
func install(t *testing.T, text string, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o755)) //nolint:gosec // it is a command
	return file
}

// emptyMachine sets the environment to that of a machine with neither pulumi nor plugins. It returns PULUMI_HOME and
// the directory on PATH.
func emptyMachine(t *testing.T) (home, bin string) {
	t.Helper()
	home, bin = t.TempDir(), t.TempDir()
	t.Setenv("PULUMI_HOME", home)
	t.Setenv("PATH", bin)
	return home, bin
}

// installOfficial installs everything that Pulumi would.
func installOfficial(t *testing.T, home string) {
	t.Helper()
	install(t, "echo "+PulumiVersion, home, "bin", "pulumi")
	install(t, "", home, "bin", "pulumi-language-go")
	for _, name := range []string{"command", "kubernetes"} {
		install(t, "", home, "plugins", "resource-"+name+"-"+plugins[name], "pulumi-resource-"+name)
	}
}

func TestOfficialPluginsReplaceTheStandIns(t *testing.T) {
	home, _ := emptyMachine(t)
	installOfficial(t, home)
	install(t, "", home, "plugins", "resource-command-v1.0.0", "pulumi-resource-command")
	official, err := FindOfficial(t.Context())
	require.NoError(t, err)

	state := t.TempDir()
	standIn := Toolchain{Pulumi: "built", Program: "program", Home: filepath.Join(state, "pulumi"), bin: filepath.Join(state, "bin")}
	require.NoError(t, linkPlugins(standIn.Home, plugins, standIns(standIn.bin)))
	tools, err := standIn.With(official)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(home, "bin", "pulumi"), tools.Pulumi)
	assert.Equal(t, "program", tools.Program)
	assert.Contains(t, tools.Environ(state), "PULUMI_IGNORE_AMBIENT_PLUGINS=true")
	assert.NotContains(t, standIn.Environ(state), "PULUMI_IGNORE_AMBIENT_PLUGINS=true")

	linked := func(tools Toolchain, name string) string {
		path, err := os.Readlink(filepath.Join(tools.Home, "plugins", "resource-"+name+"-"+plugins[name], "pulumi-resource-"+name))
		require.NoError(t, err)
		return path
	}
	for _, name := range []string{"command", "kubernetes"} {
		assert.Equal(t, filepath.Join(home, "plugins", "resource-"+name+"-"+plugins[name], "pulumi-resource-"+name), linked(tools, name))
		assert.Equal(t, filepath.Join(standIn.bin, "pulumi-resource-"+name), linked(standIn, name), "the home of the stand-ins is unchanged")
	}
	assert.Equal(t, filepath.Join(standIn.bin, "pulumi-resource-aws"), linked(tools, "aws"), "the plugin for AWS remains the model")
}

func TestOfficialPulumiBringsItsLanguageHost(t *testing.T) {
	home, bin := emptyMachine(t)
	install(t, "echo "+PulumiVersion, bin, "pulumi")
	assert.Empty(t, officialPulumi(t.Context(), home), "there is no language host in its directory")

	ofHome := install(t, "echo v3.999.0", home, "bin", "pulumi")
	install(t, "", home, "bin", "pulumi-language-go")
	assert.Equal(t, ofHome, officialPulumi(t.Context(), home))
	install(t, "echo v3.0.0", home, "bin", "pulumi")
	assert.Empty(t, officialPulumi(t.Context(), home), "it is older than the SDK")

	// As packages install it: a link on PATH, and the two together elsewhere.
	elsewhere := t.TempDir()
	packaged := install(t, "echo "+PulumiVersion, elsewhere, "pulumi")
	install(t, "", elsewhere, "pulumi-language-go")
	require.NoError(t, os.Remove(filepath.Join(bin, "pulumi")))
	require.NoError(t, os.Symlink(packaged, filepath.Join(bin, "pulumi")))
	assert.Equal(t, packaged, officialPulumi(t.Context(), home))
}

func TestMissingOfficialPluginsAreNamed(t *testing.T) {
	home, _ := emptyMachine(t)
	numbers := func(version string) string { return strings.TrimPrefix(version, "v") }
	pulumi := "\n  pulumi " + numbers(PulumiVersion) + " or newer, with pulumi-language-go in the same directory: " +
		"https://www.pulumi.com/docs/install/"
	line := func(name string) string {
		version := numbers(plugins[name])
		return "\n  plugin " + name + " " + version + ": pulumi plugin install resource " + name + " " + version
	}
	begins := "PLUGINS=official: these are neither on PATH nor in " + home + "; install each as described:"
	_, err := FindOfficial(t.Context())
	require.EqualError(t, err, begins+pulumi+line("command")+line("kubernetes"))

	installOfficial(t, home)
	_, err = FindOfficial(t.Context())
	require.NoError(t, err)

	plugin := filepath.Join(home, "plugins", "resource-command-"+plugins["command"])
	require.NoError(t, os.WriteFile(plugin+".partial", nil, 0o600))
	_, err = FindOfficial(t.Context())
	require.EqualError(t, err, begins+line("command"), "its installation was interrupted")
	require.NoError(t, os.Remove(plugin+".partial"))

	require.NoError(t, os.Rename(plugin, filepath.Join(home, "plugins", "resource-command-v1.99.0")))
	_, err = FindOfficial(t.Context())
	require.EqualError(t, err, begins+line("command"), "only another version is installed")

	t.Setenv("PULUMI_HOME", "")
	t.Setenv("HOME", t.TempDir())
	_, err = FindOfficial(t.Context())
	require.ErrorContains(t, err, filepath.Join(os.Getenv("HOME"), ".pulumi")+"; install")
}

func TestParsePlugins(t *testing.T) {
	for _, plugins := range []Plugins{StandInPlugins, OfficialPlugins} {
		parsed, err := ParsePlugins(string(plugins))
		require.NoError(t, err)
		assert.Equal(t, plugins, parsed)
	}
	_, err := ParsePlugins("real")
	require.EqualError(t, err, `PLUGINS is stand-in or official, not "real"`)
}
