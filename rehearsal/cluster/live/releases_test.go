package live_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/repo"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"eco2/rehearsal/cluster/live"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/engine/plugin"
)

const releaseType = "kubernetes:helm.sh/v3:Release"

// chartName is the name of the tests' chart. It has a ConfigMap with a message and a Deployment, which is ready only
// without replicas because the API server has no nodes. With the value before it also has a pod as a pre-install and
// pre-upgrade hook, which no node runs.
const chartName = "greeter"

var chartFiles = map[string]string{
	"templates/configmap.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  message: {{ .Values.message | quote }}
`,
	"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: greeter}}
  template:
    metadata: {labels: {app: greeter}}
    spec: {containers: [{name: main, image: "eco2.example/main:1"}]}
{{- if .Values.refuse }}{{ fail (printf "the message is %s" .Values.message) }}{{ end }}
`,
	"templates/before.yaml": `{{ if .Values.before }}apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-before, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}
spec: {containers: [{name: main, image: "eco2.example/main:1"}]}
{{ end }}`,
	"crds/things.yaml": `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.greeter.example.com}
spec:
  group: greeter.example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`,
}

const chartSchema = `{"type": "object", "additionalProperties": false, "properties": {
	"message": {"type": "string", "pattern": "^[a-z0-9 ]*$"}, "replicas": {"type": "integer"}, "refuse": {"type": "boolean"}, "before": {"type": "boolean"}, "global": {}}}`

// charts serves a chart repository with two versions of the chart, and a chart whose dependency is missing. It returns
// the repository's URL.
func charts(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, version := range []string{"1.0.0", "1.1.0"} {
		c := &chart.Chart{
			Metadata: &chart.Metadata{APIVersion: chart.APIVersionV2, Name: chartName, Version: version, AppVersion: "9." + version},
			Values:   map[string]any{"message": "hello", "replicas": 0},
			Raw:      []*chart.File{{Name: chartutil.ValuesfileName, Data: []byte("message: hello\nreplicas: 0\n")}},
			Schema:   []byte(chartSchema),
		}
		for name, text := range chartFiles {
			file := &chart.File{Name: name, Data: []byte(text)}
			if filepath.Dir(name) == "templates" {
				c.Templates = append(c.Templates, file)
			} else {
				c.Files = append(c.Files, file)
			}
		}
		_, err := chartutil.Save(c, dir)
		require.NoError(t, err)
	}
	broken := &chart.Chart{Metadata: &chart.Metadata{
		APIVersion: chart.APIVersionV2, Name: "broken", Version: "1.0.0",
		Dependencies: []*chart.Dependency{{Name: "postgres", Version: "1.0.0", Repository: "https://charts.example"}},
	}}
	_, err := chartutil.Save(broken, dir)
	require.NoError(t, err)
	files := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(files.Close)
	index, err := repo.IndexDirectory(dir, files.URL)
	require.NoError(t, err)
	require.NoError(t, index.WriteFile(filepath.Join(dir, "index.yaml"), 0o644))
	return files.URL
}

// release returns the inputs of a release as the program declares one, with more inputs over them.
func (w *world) release(charts string, more map[string]any) map[string]any {
	inputs := map[string]any{
		"name": "greeter", "namespace": w.namespace, "chart": chartName, "version": "1.0.0",
		"repositoryOpts": map[string]any{"repo": charts}, "skipCrds": true,
		"atomic": true, "cleanupOnFail": true, "maxHistory": 3.0, "timeout": 60.0,
		"values": map[string]any{"message": "hello"},
	}
	maps.Copy(inputs, more)
	return inputs
}

func values(message string, replicas float64) map[string]any {
	return map[string]any{"values": map[string]any{"message": message, "replicas": replicas}}
}

// message returns the message in the release's ConfigMap; empty if it does not exist.
func (w *world) message() string {
	w.Helper()
	configMap, err := api(w.T).CoreV1().ConfigMaps(w.namespace).Get(w.Context(), "greeter", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	require.NoError(w, err)
	return configMap.Data["message"]
}

// remains asserts for five seconds that a condition holds. It asks in the test's own goroutine: assert.Never can ask once
// more after the test has ended.
func (w *world) remains(condition func() bool) {
	w.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if !assert.True(w, condition()) {
			return
		}
	}
}

func (w *world) status(r *plugin.Request) string {
	status := r.State["status"].ObjectValue()
	return fmt.Sprintf("%s %s, revision %.0f", status["status"].StringValue(), status["version"].StringValue(), status["revision"].NumberValue())
}

func TestReleaseLifecycle(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	r := w.must(releaseType, w.release(repository, nil))
	assert.Equal(t, w.namespace+"/greeter", r.ID)
	assert.Equal(t, "deployed 1.0.0, revision 1", w.status(r))
	assert.Equal(t, "9.1.0.0", r.State["status"].ObjectValue()["appVersion"].StringValue())
	assert.Equal(t, "hello", w.message())
	assert.Empty(t, w.drift(r))

	_, err := w.create(t.Context(), releaseType, w.release(repository, nil))
	require.ErrorContains(t, err, "cannot re-use a name that is still in use")

	require.NoError(t, w.update(r, w.release(repository, map[string]any{"version": "1.1.0", "values": map[string]any{"message": "good day"}})))
	assert.Equal(t, "deployed 1.1.0, revision 2", w.status(r))
	assert.Equal(t, "good day", w.message())
	assert.Empty(t, w.drift(r))

	byHand := *r
	require.NoError(t, w.update(&byHand, w.release(repository, map[string]any{"version": "1.0.0", "values": map[string]any{"message": "by hand"}})))
	assert.ElementsMatch(t, []string{"version", "values.message"}, w.drift(r))

	// Helm keeps maxHistory revisions.
	for range 2 {
		require.NoError(t, w.update(r, w.release(repository, nil)))
	}
	records, err := api(t).CoreV1().Secrets(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
	require.NoError(t, err)
	assert.Len(t, records.Items, 3)

	require.NoError(t, w.delete(r))
	assert.Empty(t, w.message())
	require.NoError(t, w.delete(r), "deleting a missing release is not an error")
	assert.Equal(t, []string{"gone"}, w.drift(r))
	require.ErrorContains(t, w.update(r, w.release(repository, nil)), `"greeter" has no deployed releases`)
}

func TestChartSources(t *testing.T) {
	server.Need(t)
	repository := charts(t)
	for name, test := range map[string]struct {
		change map[string]any
		want   string
	}{
		"an archive":                {map[string]any{"chart": repository + "/greeter-1.0.0.tgz", "repositoryOpts": nil}, ""},
		"a namespace is created":    {map[string]any{"namespace": "own", "createNamespace": true}, ""},
		"no such namespace":         {map[string]any{"namespace": "nowhere"}, `namespaces "nowhere" not found`},
		"no such version":           {map[string]any{"version": "2.0.0"}, `"greeter" version "2.0.0" not found`},
		"no such chart":             {map[string]any{"chart": "other"}, `"other" version "1.0.0" not found`},
		"no such repository":        {map[string]any{"repositoryOpts": map[string]any{"repo": repository + "/nothing"}}, "404 Not Found"},
		"a missing dependency":      {map[string]any{"chart": "broken"}, "missing in charts/ directory: postgres"},
		"a chart with a definition": {map[string]any{"skipCrds": false}, ""},
		"an unreachable registry":   {map[string]any{"chart": "oci://127.0.0.1:1/charts/greeter", "repositoryOpts": nil}, "127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			change := maps.Clone(test.change)
			if change["namespace"] == "own" {
				change["namespace"] = w.namespace + "-own"
			}
			inputs := w.release(repository, change)
			if _, has := change["repositoryOpts"]; has && change["repositoryOpts"] == nil {
				delete(inputs, "repositoryOpts")
			}
			r, err := w.create(t.Context(), releaseType, inputs)
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "deployed 1.0.0, revision 1", w.status(r))
			assert.Empty(t, w.drift(r))
		})
	}
	_, err := api(t).RESTClient().Get().AbsPath("/apis/greeter.example.com/v1/things").DoRaw(t.Context())
	require.NoError(t, err)
}

func TestFailedInstallIsUninstalled(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	never := values("hello", 1)
	never["timeout"] = 6.0
	_, err := w.create(t.Context(), releaseType, w.release(repository, never))
	require.ErrorContains(t, err, "release greeter failed, and has been uninstalled due to atomic being set")
	require.ErrorContains(t, err, "Deployment is not ready: "+w.namespace+"/greeter. 0 out of 1 expected pods are ready")
	require.NotErrorAs(t, err, new(*plugin.PartialError))
	assert.Empty(t, w.message())
	w.must(releaseType, w.release(repository, nil))
}

func TestFailedInstallIsKeptWithoutAtomic(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	never := values("hello", 1)
	never["timeout"], never["atomic"] = 6.0, false
	r, err := w.create(t.Context(), releaseType, w.release(repository, never))
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	r.ID, r.State = partial.ID, partial.Outputs
	assert.Equal(t, "failed 1.0.0, revision 1", w.status(r))
	require.NoError(t, w.update(r, w.release(repository, nil)))
	assert.Equal(t, "deployed 1.0.0, revision 2", w.status(r))

	never["skipAwait"] = true
	require.NoError(t, w.update(r, w.release(repository, never)), "skipAwait does not wait")
}

func TestFailedUpgradeIsRolledBack(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	r := w.must(releaseType, w.release(repository, nil))
	never := values("good day", 1)
	never["timeout"] = 6.0
	err := w.update(r, w.release(repository, never))
	require.ErrorContains(t, err, "has been rolled back due to atomic being set")
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	r.State = partial.Outputs
	assert.Equal(t, "deployed 1.0.0, revision 3", w.status(r))
	assert.Equal(t, "hello", w.message())

	require.NoError(t, w.update(r, w.release(repository, values("good day", 0))))
	assert.Equal(t, "good day", w.message())
}

// Schemas, templates and API servers quote the values that they refuse.
func TestErrorsDoNotQuoteValues(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	const secret = "CORRECT horse 1"
	for name, test := range map[string]struct {
		values map[string]any
		want   string
	}{
		"a schema's pattern": {map[string]any{"message": secret}, "[the value of message]"},
		"an unknown key":     {map[string]any{"messages": secret}, "additional properties 'messages' not allowed"},
		"a type":             {map[string]any{"replicas": secret}, "/replicas"},
		"a template":         {map[string]any{"message": "correct horse 1", "refuse": true}, "the message is [the value of message]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.create(t.Context(), releaseType, w.release(repository, map[string]any{"values": test.values}))
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "horse")
		})
	}
	assert.Empty(t, w.message())
}

// taskEnv is the environment variable with the task of a child process, as JSON. The test kills the child during its
// task.
const taskEnv = "ECO2_TEST_VICTIM"

// task is an install or an upgrade that a child process of the test performs.
type task struct {
	Kubeconfig string
	Upgrade    bool
	Spec       provider.ReleaseSpec
}

// runTask performs the task in the environment. It returns false if there is none.
func runTask() bool {
	text := os.Getenv(taskEnv)
	if text == "" {
		return false
	}
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		panic(err)
	}
	endpoint, err := provider.ParseKubeconfig(t.Kubeconfig, "", "")
	if err != nil {
		panic(err)
	}
	cluster, err := live.Connector()(context.Background(), endpoint)
	if err != nil {
		panic(err)
	}
	run := cluster.Install
	if t.Upgrade {
		run = cluster.Upgrade
	}
	_, err = run(context.Background(), t.Spec)
	panic(err) // nobody killed the process
}

// kill starts an install or an upgrade whose Deployment never becomes ready in a child process, and kills the child
// during its wait. Helm's record then has the status.
func (w *world) kill(repository string, upgrade bool, status string) {
	w.Helper()
	text, err := json.Marshal(task{Kubeconfig: server.Kubeconfig, Upgrade: upgrade, Spec: provider.ReleaseSpec{
		Namespace: w.namespace, Name: "greeter", Chart: chartName, Version: "1.0.0", Repository: repository, SkipCRDs: true,
		Values: map[string]any{"replicas": 1}, Wait: true, Atomic: true, Timeout: 10 * time.Minute,
	}})
	require.NoError(w, err)
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), taskEnv+"="+string(text))
	require.NoError(w, process.Start())
	require.Eventually(w, func() bool {
		deployment, err := api(w.T).AppsV1().Deployments(w.namespace).Get(w.Context(), "greeter", metav1.GetOptions{})
		return err == nil && *deployment.Spec.Replicas == 1
	}, time.Minute, 50*time.Millisecond)
	require.NoError(w, process.Process.Kill())
	_ = process.Wait()
	records, err := api(w.T).CoreV1().Secrets(w.namespace).List(w.Context(), metav1.ListOptions{LabelSelector: "status=" + status})
	require.NoError(w, err)
	require.Len(w, records.Items, 1)
}

// recover deletes Helm's record of the killed operation, as docs/operations.md describes.
func (w *world) recover(status string) {
	w.Helper()
	require.NoError(w, api(w.T).CoreV1().Secrets(w.namespace).DeleteCollection(w.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "owner=helm,name=greeter,status=" + status}))
}

// As with the real provider, Helm does not notice that the process which began the operation no longer exists.
func TestKilledInstallOrUpgrade(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	w.kill(repository, false, "pending-install")
	_, err := w.create(t.Context(), releaseType, w.release(repository, nil))
	require.ErrorContains(t, err, "cannot re-use a name that is still in use")
	w.recover("pending-install")
	r := w.must(releaseType, w.release(repository, nil))
	assert.Equal(t, "deployed 1.0.0, revision 1", w.status(r))

	w.kill(repository, true, "pending-upgrade")
	err = w.update(r, w.release(repository, values("good day", 0)))
	require.ErrorContains(t, err, "another operation (install/upgrade/rollback) is in progress")
	require.NotErrorAs(t, err, new(*plugin.PartialError))
	w.recover("pending-upgrade")
	require.NoError(t, w.update(r, w.release(repository, values("good day", 0))))
	assert.Equal(t, "deployed 1.0.0, revision 2", w.status(r))
	assert.Equal(t, "good day", w.message())

	// A killed rollback leaves such a record, too.
	records := storage.Init(driver.NewSecrets(api(t).CoreV1().Secrets(w.namespace)))
	last, err := records.Last("greeter")
	require.NoError(t, err)
	last.Version++
	last.SetStatus(release.StatusPendingRollback, "killed")
	require.NoError(t, records.Create(last))
	err = w.update(r, w.release(repository, nil))
	require.ErrorContains(t, err, "another operation (install/upgrade/rollback) is in progress")
	w.recover("pending-rollback")
	require.NoError(t, w.update(r, w.release(repository, nil)))
	assert.Equal(t, "hello", w.message())
}

// interrupt starts an operation, interrupts it when a condition holds, and returns the operation's error.
func (w *world) interrupt(operation func(context.Context) error, when func() bool) error {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- operation(ctx) }()
	require.Eventually(w, when, time.Minute, 50*time.Millisecond)
	cancel()
	return <-done
}

// hookExists reports whether the hook's pod exists.
func (w *world) hookExists() bool {
	_, err := api(w.T).CoreV1().Pods(w.namespace).Get(w.Context(), "greeter-before", metav1.GetOptions{})
	return err == nil
}

// succeedHook sets the phase of the hook's pod to Succeeded.
func (w *world) succeedHook() {
	w.Helper()
	_, err := api(w.T).CoreV1().Pods(w.namespace).Patch(w.Context(), "greeter-before", types.MergePatchType,
		[]byte(`{"status": {"phase": "Succeeded"}}`), metav1.PatchOptions{}, "status")
	require.NoError(w, err)
}

func TestInterruptedInstallIsUninstalled(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	install := func(inputs map[string]any) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := w.create(ctx, releaseType, w.release(repository, inputs))
			return err
		}
	}
	nothingIsLeft := func() bool {
		records, err := api(t).CoreV1().Secrets(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
		return err == nil && len(records.Items) == 0 && w.message() == ""
	}
	err := w.interrupt(install(values("hello", 1)), func() bool { return w.message() != "" })
	require.ErrorContains(t, err, "has been uninstalled due to atomic being set: context canceled")
	assert.True(t, nothingIsLeft())

	err = w.interrupt(install(map[string]any{"values": map[string]any{"before": true}}), w.hookExists)
	require.ErrorContains(t, err, "has been uninstalled due to atomic being set: failed pre-install: context canceled")
	w.succeedHook() // the interrupted install must not continue
	w.remains(nothingIsLeft)
}

func TestInterruptedUpgradeIsRolledBack(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	r := w.must(releaseType, w.release(repository, nil))
	err := w.interrupt(func(ctx context.Context) error {
		return w.updateIn(ctx, r, w.release(repository, map[string]any{"values": map[string]any{"message": "good day", "before": true}}))
	}, w.hookExists)
	require.ErrorContains(t, err, "has been rolled back due to atomic being set: pre-upgrade hooks failed: context canceled")
	var partial *plugin.PartialError
	require.ErrorAs(t, err, &partial)
	r.State = partial.Outputs
	assert.Equal(t, "deployed 1.0.0, revision 3", w.status(r))
	w.succeedHook()
	w.remains(func() bool { return w.message() == "hello" })
}

func TestUninstallErrorNamesWhatRemains(t *testing.T) {
	w, repository := newWorld(t, nil), charts(t)
	r := w.must(releaseType, w.release(repository, nil))
	policies := api(t).AdmissionregistrationV1()
	remove, all := []admissionregistrationv1.OperationType{admissionregistrationv1.Delete}, metav1.ObjectMeta{Name: w.namespace}
	_, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: all,
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: remove,
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "the message is under preservation"}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: all,
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: w.namespace, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, policies.ValidatingAdmissionPolicyBindings().Delete(context.Background(), w.namespace, metav1.DeleteOptions{}))
		assert.NoError(t, policies.ValidatingAdmissionPolicies().Delete(context.Background(), w.namespace, metav1.DeleteOptions{}))
	})
	require.Eventually(t, func() bool {
		err := api(t).CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), "greeter", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err) || apierrors.IsInvalid(err)
	}, time.Minute, 100*time.Millisecond)
	err = w.delete(r)
	require.ErrorContains(t, err, "failed to delete release: greeter")
	require.ErrorContains(t, err, "the message is under preservation")
}

// A preview neither connects to a cluster nor downloads a chart.
func TestReleasePreviewNeedsNoCluster(t *testing.T) {
	model := provider.New(live.Connector())
	require.NoError(t, model.Configure(t.Context(), props(map[string]any{"kubeconfig": "nonsense"})))
	kind := model.Kinds(releaseType)
	_, out, err := kind.Create(t.Context(), &plugin.Request{Type: releaseType, Name: "res", Preview: true, Inputs: props(map[string]any{"chart": "x"})})
	require.NoError(t, err)
	assert.True(t, out["status"].IsComputed())
	assert.Equal(t, resource.NewProperty("x"), out["chart"])
}
