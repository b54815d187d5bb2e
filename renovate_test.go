package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
)

// Renovate must find each pinned version that is not in a go.mod: it skips without an error what an expression no
// longer matches.
func TestRenovateFindsThePinnedVersions(t *testing.T) {
	text, err := os.ReadFile(".github/renovate.json")
	require.NoError(t, err)
	var settings struct {
		CustomManagers []struct {
			ManagerFilePatterns, MatchStrings []string
			DepNameTemplate                   string
		}
	}
	require.NoError(t, json.Unmarshal(text, &settings))
	files, err := filepath.Glob("*/*.go")
	require.NoError(t, err)
	workflows, err := filepath.Glob(".github/workflows/*.yml")
	require.NoError(t, err)
	found := map[string]string{}
	for _, manager := range settings.CustomManagers {
		require.Len(t, manager.ManagerFilePatterns, 1)
		require.Len(t, manager.MatchStrings, 1)
		pattern := regexp.MustCompile(strings.Trim(manager.ManagerFilePatterns[0], "/"))
		version := regexp.MustCompile(manager.MatchStrings[0])
		for _, file := range append(files, workflows...) {
			if !pattern.MatchString(file) || strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range version.FindAllSubmatch(source, -1) {
				name := manager.DepNameTemplate
				if i := version.SubexpIndex("depName"); i >= 0 {
					name = string(match[i])
				}
				found[name] = string(match[version.SubexpIndex("currentValue")])
			}
		}
	}
	module, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	versions := config.DefaultVersions
	want := map[string]string{
		"kubernetes/kubernetes": versions.Kubernetes, "containerd/containerd": versions.Containerd,
		"projectcalico/calico": versions.Calico, "argoproj/argo-cd": versions.ArgoCD,
		"pulumi/pulumi": string(regexp.MustCompile(`pulumi/sdk/v3 v(\S+)`).FindSubmatch(module)[1]),
	}
	g := mustRun(t, "dev")
	for _, r := range g.every(t, releaseType) {
		want[r.Inputs["name"].StringValue()] = r.Inputs["version"].StringValue()
	}
	assert.Equal(t, want, found)
}
