package cluster

import (
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

//go:embed scripts/*.sh manifests
var files embed.FS

// The scripts are installed on the control plane, because some run once for each node: this way the state contains each
// script's text once, and a preview shows its change once.
const (
	// installer is the name of the script that installs the others. It alone is sent on standard input.
	installer = "install"
	// installDir is the directory in which install.sh installs the scripts. It must equal SCRIPTS in lib.sh.
	installDir = "/usr/local/lib/eco2/"
)

// source returns the content of a file in scripts/. name is without .sh.
func source(name string) (string, error) {
	content, err := files.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		return "", fmt.Errorf("reading script %s: %w", name, err)
	}
	return string(content), nil
}

// scriptText returns the library followed by the script: the complete text for `bash -s` or an installed file.
func scriptText(name string) (string, error) {
	library, err := source("lib")
	if err != nil {
		return "", err
	}
	own, err := source(name)
	return library + own, err
}

// installInput returns what install.sh reads from standard input: the library and all scripts to install.
func installInput() (string, error) {
	scripts := map[string]string{}
	entries, err := files.ReadDir("scripts")
	if err != nil {
		return "", fmt.Errorf("listing the scripts: %w", err)
	}
	for _, entry := range entries {
		name := strings.TrimSuffix(entry.Name(), ".sh")
		if name == installer {
			continue
		}
		text, err := source(name)
		if err != nil {
			return "", err
		}
		scripts[name+".sh"] = text
	}
	return bundle(scripts), nil
}

// bundle returns named files as one text, from which split_files in lib.sh makes files again.
func bundle(files map[string]string) string {
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&all, "=== %s ===\n%s", name, files[name])
	}
	return all.String()
}

// manifest reads a file in manifests/ and replaces each ${NAME} by its value. It fails if a value has no placeholder or
// a placeholder no value.
func manifest(path string, values map[string]string) (string, error) {
	content, err := files.ReadFile("manifests/" + path)
	if err != nil {
		return "", fmt.Errorf("reading manifest %s: %w", path, err)
	}
	text := string(content)
	for name, value := range values {
		if !strings.Contains(text, "${"+name+"}") {
			return "", fmt.Errorf("rendering manifest %s: it has no placeholder ${%s}", path, name)
		}
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	if i := strings.Index(text, "${"); i >= 0 {
		return "", fmt.Errorf("rendering manifest %s: there is no value for %.30s", path, text[i:])
	}
	return text, nil
}
