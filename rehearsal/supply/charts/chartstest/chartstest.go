// Package chartstest renders charts with the values that the program declares.
package chartstest

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Release is a Helm release as the program declares it. The program's own test records them in testdata.
type Release struct {
	Name, Namespace, Chart, Version string
	RepositoryOpts                  struct{ Repo string }
	Values                          map[string]any
}

// Releases returns, by name, the releases of a stack that uses a mirror at https://mirror.example/files. repo is the
// path of the project's checkout.
func Releases(t *testing.T, repo, stack string) map[string]Release {
	t.Helper()
	data, err := os.ReadFile(repo + "/testdata/" + stack + ".releases.json")
	require.NoError(t, err)
	declared := map[string]Release{}
	require.NoError(t, json.Unmarshal(data, &declared))
	return declared
}

// Render returns the manifests that Helm would install, including those of hooks.
func Render(c *chart.Chart, r Release) (string, error) {
	install := action.NewInstall(&action.Configuration{})
	install.ReleaseName, install.Namespace = r.Name, r.Namespace
	install.ClientOnly, install.DryRun, install.SkipCRDs = true, true, true
	rendered, err := install.Run(c, r.Values)
	if err != nil {
		return "", err
	}
	manifest := rendered.Manifest
	for _, hook := range rendered.Hooks {
		manifest += "\n---\n" + hook.Manifest
	}
	return manifest, nil
}

// Objects renders a release and returns its objects. charts must contain its chart.
func Objects(t *testing.T, charts []*chart.Chart, r Release) (all []*unstructured.Unstructured) {
	t.Helper()
	for _, c := range charts {
		if c.Name() != r.Name {
			continue
		}
		manifest, err := Render(c, r)
		require.NoError(t, err)
		for _, text := range strings.Split(manifest, "\n---\n") {
			o := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte(text), &o.Object))
			if o.GetKind() != "" {
				all = append(all, o)
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// RBAC returns those of the objects that grant permissions.
func RBAC(all []*unstructured.Unstructured) (rbac []*unstructured.Unstructured) {
	for _, o := range all {
		if o.GroupVersionKind().Group == "rbac.authorization.k8s.io" {
			rbac = append(rbac, o)
		}
	}
	return rbac
}

// Grant creates a release's RBAC objects in a cluster and sets KUBECONFIG to a kubeconfig that impersonates one of the
// release's service accounts. administrator is the text of the administrator's kubeconfig.
func Grant(t *testing.T, administrator, namespace, account string, rbac []*unstructured.Unstructured) {
	t.Helper()
	config, err := clientcmd.Load([]byte(administrator))
	require.NoError(t, err)
	rest, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	require.NoError(t, err)
	cluster, err := client.New(rest, client.Options{})
	require.NoError(t, err)
	for _, o := range rbac {
		require.NoError(t, client.IgnoreAlreadyExists(cluster.Create(t.Context(), o)))
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + namespace + ":" + account
	}
	file := t.TempDir() + "/kubeconfig"
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	t.Setenv("KUBECONFIG", file)
}
