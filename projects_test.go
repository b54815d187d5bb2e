package main

import (
	"os"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/infra"
)

const projectType = "kubernetes:argoproj.io/v1alpha1:AppProject"

// Argo CD deploys from the workloads' repository only into the workloads' namespaces, and nothing that grants
// permissions.
func TestProjectsAllowWorkloadsOnly(t *testing.T) {
	text := func(v resource.PropertyValue, key string) string {
		return v.ObjectValue()[resource.PropertyKey(key)].StringValue()
	}
	list := func(spec resource.PropertyMap, key string, fields ...string) (all []string) {
		if !spec.HasValue(resource.PropertyKey(key)) {
			return nil
		}
		for _, element := range spec[resource.PropertyKey(key)].ArrayValue() {
			line := ""
			for _, field := range fields {
				line += text(element, field) + " "
			}
			all = append(all, line)
		}
		return all
	}
	workloads := append(infra.Domains(), "postgres", "redis", "rabbitmq")
	for i, name := range workloads {
		workloads[i] = "https://kubernetes.default.svc " + name + " "
	}
	forEachStack(t, func(t *testing.T, g *graph) {
		require.Len(t, g.ofType(projectType), 2)
		for name, want := range map[string]struct{ destinations, cluster, namespaced []string }{
			"root": {
				[]string{"https://kubernetes.default.svc argocd "}, nil,
				[]string{"argoproj.io Application ", "argoproj.io ApplicationSet "},
			},
			g.stack: {workloads, []string{"scheduling.k8s.io PriorityClass "}, nil},
		} {
			spec := g.named(t, projectType, "project-"+name).Inputs["spec"].ObjectValue()
			require.Len(t, spec["sourceRepos"].ArrayValue(), 1, name)
			assert.Equal(t, gitops["repository"], spec["sourceRepos"].ArrayValue()[0].StringValue(), name)
			assert.Equal(t, want.destinations, list(spec, "destinations", "server", "namespace"), name)
			assert.Equal(t, want.cluster, list(spec, "clusterResourceWhitelist", "group", "kind"), name)
			assert.Equal(t, want.namespaced, list(spec, "namespaceResourceWhitelist", "group", "kind"), name)
		}
		root := g.named(t, "kubernetes:argoproj.io/v1alpha1:Application", "root")
		assert.Equal(t, "root", text(root.Inputs["spec"], "project"))
	})
}

// The committed stacks set no repository, so Argo CD deploys nothing.
func TestNoWorkloadsUnlessConfigured(t *testing.T) {
	for _, stack := range stacks {
		file, err := os.ReadFile("Pulumi." + stack + ".yaml")
		require.NoError(t, err)
		assert.NotContains(t, string(file), "gitops")
		values := settings(t, stack)
		delete(values, "eco2:gitops")
		g, err := run(stack, values)
		require.NoError(t, err)
		for _, r := range g.resources {
			assert.NotContains(t, r.Type, "argoproj.io", r.Name)
		}
		assert.True(t, slices.ContainsFunc(g.ofType(commandType), func(r *declared) bool { return r.Name == "argocd" }), stack)
	}
}
