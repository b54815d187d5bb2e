package machines

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/workloads"
)

// refusedFiles maps paths to manifests that a workloads' repository must not contain.
var refusedFiles = map[string][]byte{
	"refused/binding/binding.yaml": []byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: refused}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: default, namespace: my}]
`),
	"refused/definition/definition.yaml": []byte(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: refused.eco2.example}
spec:
  group: eco2.example
  names: {kind: Refused, plural: refused}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`),
	"refused/elsewhere/elsewhere.yaml": []byte(`
apiVersion: v1
kind: ConfigMap
metadata: {name: refused, namespace: kube-system}
`),
}

// refuses checks which errors the real Argo CD reports for Applications that the projects do not permit, and that it
// creates none of their objects.
func (c *cluster) refuses(t *testing.T) {
	t.Helper()
	repository := filepath.Join(c.Dir, gitserver.Directory, workloads.Name)
	_, err := workloads.Change(repository, refusedFiles, "Objects that no project permits")
	require.NoError(t, err)
	_, err = c.try(readFile(t, "testdata/refused.yaml"), "apply", "--filename=-")
	require.NoError(t, err)
	type refused struct {
		object
		Status struct {
			Conditions     []struct{ Type, Message string }
			OperationState struct {
				Phase, Message string
				SyncResult     struct{ Resources []struct{ Message string } }
			}
		}
	}
	want := map[string]string{
		"refused-binding":     "resource rbac.authorization.k8s.io:ClusterRoleBinding is not permitted in project dev",
		"refused-definition":  "resource apiextensions.k8s.io:CustomResourceDefinition is not permitted in project dev",
		"refused-namespace":   "namespace kube-system is not permitted in project 'dev'",
		"refused-destination": "do not match any of the allowed destinations in project 'dev'",
		"refused-project":     "is not permitted in project 'default'",
		"refused-root":        "resource rbac.authorization.k8s.io:ClusterRoleBinding is not permitted in project root",
	}
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		all, err := list[refused](c, "applications", "--namespace=argocd")
		require.NoError(t, err)
		messages := map[string]string{}
		for _, a := range all {
			lines := []string{a.Status.OperationState.Message}
			for _, one := range a.Status.Conditions {
				lines = append(lines, one.Message)
			}
			for _, one := range a.Status.OperationState.SyncResult.Resources {
				lines = append(lines, one.Message)
			}
			messages[a.Metadata.Name] = strings.Join(lines, "\n")
			if _, is := want[a.Metadata.Name]; is {
				assert.NotEqual(t, "Succeeded", a.Status.OperationState.Phase, a.Metadata.Name)
			}
		}
		for name, words := range want {
			assert.Contains(t, messages[name], words, name)
		}
	}, 3*time.Minute, time.Second)
	for _, object := range []string{
		"clusterrolebinding/refused", "customresourcedefinition/refused.eco2.example", "configmap/refused --namespace=kube-system",
	} {
		assert.Empty(t, c.kubectl(append([]string{"get", "--ignore-not-found", "--output=name"}, strings.Fields(object)...)...), object)
	}

	for name := range want {
		c.kubectl("--namespace=argocd", "delete", "application", name, "--timeout=60s")
	}
	deleted := map[string][]byte{}
	for name := range refusedFiles {
		deleted[name] = nil
	}
	_, err = workloads.Change(repository, deleted, "Delete them again")
	require.NoError(t, err)
}
