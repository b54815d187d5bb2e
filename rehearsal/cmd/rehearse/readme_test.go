package main

import (
	"cmp"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/config"
	"eco2/rehearsal/cluster/conformance"
	"eco2/rehearsal/supply"
	"eco2/rehearsal/supply/charts/chartstest"
)

// sectionOf is what a document has between a title and where the section ends.
func sectionOf(t *testing.T, document, title, end string) string {
	t.Helper()
	text, err := os.ReadFile("../../../" + document)
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), title)
	require.True(t, found, "%s has no %q", document, title)
	section, _, _ = strings.Cut(section, end)
	return section
}

// The table of what is real, in docs/rehearsal.md, names each image that the mirror serves, in one row, as what it is there.
func TestWhatIsReal(t *testing.T) {
	section := sectionOf(t, "docs/rehearsal.md", "\n## What is real, what is a model\n", "\n## ")

	served := map[string]bool{}
	for _, image := range supply.Images() {
		served[image.Name] = image.StandIn
	}
	image := regexp.MustCompile("`([a-z0-9-]+\\.[a-z0-9.-]+/[^` ]+:[^` ]+)`")
	var named []string
	for row := range strings.Lines(section) {
		for _, match := range image.FindAllStringSubmatch(row, -1) {
			name := match[1]
			assert.NotContains(t, named, name, "an image has one row")
			named = append(named, name)
			if !assert.Contains(t, served, name, "the table names what the mirror does not serve") {
				continue
			}
			cells := strings.Split(row, "|")
			require.Greater(t, len(cells), 3, row)
			is := "real"
			if served[name] {
				is = "stand-in"
			}
			assert.True(t, strings.HasPrefix(strings.TrimSpace(cells[2]), is), "%s is a %s, not %q", name, is, cells[2])
		}
	}
	for name := range served {
		assert.True(t, slices.Contains(named, name), "the table does not name %s", name)
	}
}

// The list of the tests' images, in docs/rehearsal.md, is what AddImages serves for them, as what it is there.
func TestImagesOfUpstreamsTests(t *testing.T) {
	section := sectionOf(t, "docs/rehearsal.md", "\n## Conformance\n", "\n## ")
	_, table, found := strings.Cut(section, "| Image | What is in it |\n|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	want := ""
	for _, image := range conformance.Images() {
		want += "| `" + image.Name + "` | " + image.Made + " |\n"
	}
	assert.Equal(t, want, table+"\n")
	for _, suite := range []string{"conformance", "network-policies", "quick"} {
		_, err := conformance.SuiteNamed(suite)
		assert.NoError(t, err)
		assert.Contains(t, section, "\n| `"+suite+"`")
	}
}

// What the modules of upstream have is asked again when the program installs another version.
func TestModulesWereTried(t *testing.T) {
	section := sectionOf(t, "docs/rehearsal.md", "\n## Modules that were tried\n", "\n## ")
	wanted := map[string]string{}
	for row := range strings.Lines(section) {
		if cells := strings.Split(row, " | "); len(cells) == 5 {
			wanted[strings.Trim(cells[1], "`")] = cells[2]
		}
	}

	installed := map[string]string{
		"github.com/projectcalico/calico": config.DefaultVersions.Calico, "github.com/argoproj/argo-cd/v3": config.DefaultVersions.ArgoCD,
	}
	modules := map[string]string{
		"aws-ebs-csi-driver":           "github.com/kubernetes-sigs/aws-ebs-csi-driver",
		"aws-load-balancer-controller": "github.com/kubernetes-sigs/aws-load-balancer-controller",
		"external-dns":                 "sigs.k8s.io/external-dns",
		"external-secrets":             "github.com/external-secrets/external-secrets",
		"kube-prometheus-stack":        "one for each part",
		"metrics-server":               "sigs.k8s.io/metrics-server",
		"rabbitmq-cluster-operator":    "github.com/rabbitmq/cluster-operator/v2",
		"redis-operator":               "github.com/OT-CONTAINER-KIT/redis-operator",
	}
	for name, release := range chartstest.Releases(t, "../../..", "dev") {
		require.Contains(t, modules, name, "say which module has it, and in docs/rehearsal.md what came of asking for it")
		installed[modules[name]] = release.Version
	}
	for module, version := range installed {
		assert.Equal(t, version, wanted[module],
			"the program installs %s %s: try `go mod download %s` of that version and of @latest, and write into docs/rehearsal.md what you find", module, version, module)
	}
	for _, image := range supply.Images() {
		if !image.StandIn || !strings.Contains(image.Name, "/stand-in/") {
			continue
		}
		name, _, _ := strings.Cut(image.Name[strings.LastIndex(image.Name, "/")+1:], ":")
		assert.Contains(t, section, cmp.Or(modules[name], "/"+name+"`"), "no module was tried for the stand-in %s", image.Name)
	}
}
