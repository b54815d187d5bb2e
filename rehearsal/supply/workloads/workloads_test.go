package workloads_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/internal/gitcli"
	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/workloads"
)

// checkout writes the repository's files to a new directory.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, workloads.Files()))
	return dir
}

func objects(t *testing.T, text []byte) (found []unstructured.Unstructured) {
	t.Helper()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		one, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		var o unstructured.Unstructured
		require.NoError(t, yaml.UnmarshalStrict(one, &o.Object))
		if o.Object != nil {
			require.NotEmpty(t, o.GetKind())
			require.NotEmpty(t, o.GetName())
			found = append(found, o)
		}
	}
}

func build(t *testing.T, dir string) []unstructured.Unstructured {
	t.Helper()
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	text, err := result.AsYaml()
	require.NoError(t, err)
	return objects(t, text)
}

func applications(t *testing.T) (found []unstructured.Unstructured) {
	t.Helper()
	names, err := fs.Glob(workloads.Files(), workloads.Path+"/*.yaml")
	require.NoError(t, err)
	for _, name := range names {
		text, err := fs.ReadFile(workloads.Files(), name)
		require.NoError(t, err)
		list := objects(t, text)
		require.Len(t, list, 1, name)
		wave := list[0].GetAnnotations()["argocd.argoproj.io/sync-wave"]
		assert.Equal(t, fmt.Sprintf("%02s-%s.yaml", wave, list[0].GetName()), path.Base(name))
		found = append(found, list[0])
	}
	return found
}

func text(o unstructured.Unstructured, fields ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, fields...)
	return s
}

func TestApplications(t *testing.T) {
	dir := checkout(t)
	var waves []string
	for _, app := range applications(t) {
		waves = append(waves, app.GetAnnotations()["argocd.argoproj.io/sync-wave"])
		spec := []string{"spec"}
		if app.GetKind() == "ApplicationSet" {
			spec = []string{"spec", "template", "spec"}
		}
		in := func(fields ...string) string { return text(app, append(spec, fields...)...) }
		assert.Equal(t, "argocd", app.GetNamespace())
		assert.Equal(t, "dev", in("project"))
		assert.NotContains(t, []string{"default", "argocd"}, in("destination", "namespace"), "the project does not permit it")
		assert.Equal(t, "https://"+gitserver.Host+"/"+workloads.Name, in("source", "repoURL"))
		assert.Equal(t, workloads.Branch, in("source", "targetRevision"))
		assert.FileExists(t, filepath.Join(dir, in("source", "path"), "kustomization.yaml"))
	}
	assert.Equal(t, []string{"0", "10", "20", "30", "40", "50", "60", "70"}, waves)
}

// Each overlay has all bases, and its pods have small resource requests.
func TestOverlays(t *testing.T) {
	dir := checkout(t)
	bases, err := os.ReadDir(filepath.Join(dir, "base"))
	require.NoError(t, err)
	for _, environment := range []string{"dev", "prod"} {
		for _, base := range bases {
			t.Run(environment+"/"+base.Name(), func(t *testing.T) {
				built := build(t, filepath.Join(dir, "overlays", environment, base.Name()))
				require.NotEmpty(t, built)
				for _, o := range built {
					pods(t, o)
				}
			})
		}
	}
	size := func(environment string) string {
		for _, o := range build(t, filepath.Join(dir, "overlays", environment, "postgresql")) {
			if o.GetKind() == "StatefulSet" {
				claims, _, err := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
				require.NoError(t, err)
				size, _, err := unstructured.NestedString(claims[0].(map[string]any), "spec", "resources", "requests", "storage")
				require.NoError(t, err)
				return size
			}
		}
		return ""
	}
	assert.Equal(t, "1Gi", size("dev"))
	assert.Equal(t, "50Gi", size("prod"))
	for _, o := range build(t, filepath.Join(dir, "overlays", "prod", "secrets")) {
		data, _, err := unstructured.NestedSlice(o.Object, "spec", "data")
		require.NoError(t, err)
		key, _, err := unstructured.NestedString(data[0].(map[string]any), "remoteRef", "key")
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(key, "/eco2/prod/"), key)
	}
}

// pods checks the pod template of an object, if it has one. It fails for fields that the API does not have.
func pods(t *testing.T, o unstructured.Unstructured) {
	t.Helper()
	var template corev1.PodTemplateSpec
	data, err := yaml.Marshal(o.Object)
	require.NoError(t, err)
	switch o.GetKind() {
	case "Deployment":
		var d appsv1.Deployment
		require.NoError(t, yaml.UnmarshalStrict(data, &d))
		template = d.Spec.Template
	case "StatefulSet":
		var s appsv1.StatefulSet
		require.NoError(t, yaml.UnmarshalStrict(data, &s))
		template = s.Spec.Template
	default:
		return
	}
	assert.Equal(t, "workload", template.Spec.PriorityClassName)
	for _, c := range template.Spec.Containers {
		assert.Equal(t, "eco2.example/probe:1", c.Image)
		assert.Equal(t, []string{"serve"}, c.Args)
		assert.Equal(t, "10m", c.Resources.Requests.Cpu().String())
		assert.Equal(t, "16Mi", c.Resources.Requests.Memory().String())
		require.NotNil(t, c.ReadinessProbe)
	}
}

// The ApplicationSet places the API of each domain on the domain's machine.
func TestAPIsRunOnTheirMachines(t *testing.T) {
	dir := checkout(t)
	for _, app := range applications(t) {
		if app.GetKind() != "ApplicationSet" {
			continue
		}
		generators, _, err := unstructured.NestedSlice(app.Object, "spec", "generators")
		require.NoError(t, err)
		require.Len(t, generators, 1)
		elements, _, err := unstructured.NestedSlice(generators[0].(map[string]any), "list", "elements")
		require.NoError(t, err)
		require.Len(t, elements, 7)
		for _, element := range elements {
			domain := element.(map[string]any)["domain"].(string)
			kustomize, _, err := unstructured.NestedMap(app.Object, "spec", "template", "spec", "source", "kustomize")
			require.NoError(t, err)
			kustomize["resources"] = []any{"../overlays/dev/api"}
			file, err := yaml.Marshal(kustomize)
			require.NoError(t, err)
			overlay := filepath.Join(dir, domain)
			require.NoError(t, os.Mkdir(overlay, 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), bytes.ReplaceAll(file, []byte("{{.domain}}"), []byte(domain)), 0o644))
			for _, o := range build(t, overlay) {
				assert.Equal(t, domain, o.GetNamespace())
				if o.GetKind() == "Deployment" {
					assert.Equal(t, domain, text(o, "spec", "template", "spec", "nodeSelector", "domain"))
					tolerations, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "tolerations")
					require.NoError(t, err)
					assert.Equal(t, []any{map[string]any{"key": "domain", "value": domain, "effect": "NoSchedule"}}, tolerations)
				}
			}
		}
	}
}

// The git command can read the repositories that Publish and Change write.
func TestPublish(t *testing.T) {
	git := func(dir string, args ...string) string {
		t.Helper()
		output, err := gitcli.Command(t.Context(), dir, args...).CombinedOutput()
		require.NoError(t, err, string(output))
		return strings.TrimSpace(string(output))
	}
	publish := func(dir string) string {
		t.Helper()
		commit, err := workloads.Publish(dir, workloads.Files(), "The workloads")
		require.NoError(t, err)
		return commit
	}
	dir := filepath.Join(t.TempDir(), "git", workloads.Name)
	commit := publish(dir)
	assert.Equal(t, commit, publish(dir), "no commit if nothing differs")
	assert.Equal(t, commit, publish(filepath.Join(t.TempDir(), workloads.Name)), "the same commit in every repository")

	clone := t.TempDir()
	git(clone, "clone", "--quiet", "file://"+dir, ".")
	git(clone, "fsck", "--strict")
	assert.Equal(t, workloads.Branch, git(clone, "branch", "--show-current"))
	assert.Equal(t, commit, git(clone, "rev-parse", "HEAD"))
	const file = "overlays/dev/redis/kustomization.yaml"
	have, err := os.ReadFile(filepath.Join(clone, file))
	require.NoError(t, err)
	want, err := fs.ReadFile(workloads.Files(), file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(have))

	next, err := workloads.Change(dir, map[string][]byte{file: append(want, "replicas: [{name: redis, count: 2}]\n"...), workloads.Path + "/70-workers.yaml": nil}, "Two of them")
	require.NoError(t, err)
	assert.NotEqual(t, commit, next)
	git(clone, "fetch", "--quiet")
	assert.Equal(t, "D\tclusters/dev/apps/70-workers.yaml\nM\t"+file, git(clone, "diff", "--name-status", "HEAD", "origin/develop"))
	again := publish(dir)
	git(clone, "fetch", "--quiet")
	assert.Empty(t, git(clone, "diff", "HEAD", "origin/develop"))
	assert.Equal(t, "3", git(clone, "rev-list", "--count", again))
}
