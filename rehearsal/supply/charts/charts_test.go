package charts

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/cli"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/supply/charts/chartstest"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/mirror/server"
)

type release = chartstest.Release

func releases(t *testing.T, stack string) map[string]release {
	t.Helper()
	return chartstest.Releases(t, "../../..", stack)
}

// serve adds the embedded charts to a mirror. locate downloads the chart of a release from it, as Helm does.
func serve(t *testing.T) (locate func(release) *chart.Chart) {
	t.Helper()
	embedded, err := Embedded()
	require.NoError(t, err)
	m := mirror.Mirror{Dir: t.TempDir()}
	require.NoError(t, Add(m, embedded...))
	web := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(web.Close)
	t.Chdir(t.TempDir()) // Helm prefers a folder with the chart's name in the current directory
	settings := cli.New()
	settings.RepositoryCache, settings.RepositoryConfig = t.TempDir(), t.TempDir()+"/repositories.yaml"
	here := func(url string) string { return strings.Replace(url, "https://mirror.example", web.URL, 1) }
	return func(r release) *chart.Chart {
		install := action.NewInstall(&action.Configuration{})
		install.RepoURL, install.Version = here(r.RepositoryOpts.Repo), r.Version
		file, err := install.LocateChart(here(r.Chart), settings)
		require.NoError(t, err)
		c, err := loader.Load(file)
		require.NoError(t, err)
		return c
	}
}

// eachRelease calls check in a subtest for each release of both stacks that has an embedded chart.
func eachRelease(t *testing.T, check func(t *testing.T, c *chart.Chart, r release)) {
	t.Helper()
	stacks := map[string]map[string]release{"dev": releases(t, "dev"), "prod": releases(t, "prod")}
	locate := serve(t)
	embedded, err := Embedded()
	require.NoError(t, err)
	for stack, declared := range stacks {
		for _, c := range embedded {
			require.Contains(t, declared, c.Name())
		}
		for _, name := range slices.Sorted(maps.Keys(declared)) {
			if !slices.ContainsFunc(embedded, func(c *chart.Chart) bool { return c.Name() == name }) {
				continue
			}
			t.Run(stack+" "+name, func(t *testing.T) { check(t, locate(declared[name]), declared[name]) })
		}
	}
}

// source says which of a chart's values determine a workload's placement and resources.
type source struct {
	// placement and resources are paths of values, with dots; "" means all values.
	placement, resources string
	// everywhere says that the workload runs on every node, whatever its taints, and on the host's network.
	everywhere bool
	// bare says that the workload has no resources.
	bare bool
	// limits are the chart's own limits, to which those of the values are added.
	limits corev1.ResourceList
}

// workloads lists the workloads of each chart.
var workloads = map[string]map[string]source{
	"aws-ebs-csi-driver": {
		"ebs-csi-controller": {placement: "controller", resources: "controller.resources"},
		"ebs-csi-node":       {everywhere: true, bare: true},
	},
	"external-secrets": {
		"external-secrets":                 {placement: "global", resources: "resources"},
		"external-secrets-webhook":         {placement: "global", bare: true},
		"external-secrets-cert-controller": {placement: "global", bare: true},
	},
	"kube-prometheus-stack": {
		"kube-prometheus-stack-operator":                 {placement: "prometheusOperator", resources: "prometheusOperator.resources"},
		"kube-prometheus-stack-admission-create":         {placement: "prometheusOperator.admissionWebhooks.patch", bare: true},
		"kube-prometheus-stack-admission-patch":          {placement: "prometheusOperator.admissionWebhooks.patch", bare: true},
		"kube-prometheus-stack-prometheus":               {placement: "prometheus.prometheusSpec", resources: "prometheus.prometheusSpec.resources"},
		"kube-prometheus-stack-alertmanager":             {placement: "alertmanager.alertmanagerSpec", resources: "alertmanager.alertmanagerSpec.resources"},
		"kube-prometheus-stack-grafana":                  {placement: "grafana", resources: "grafana.resources"},
		"kube-prometheus-stack-kube-state-metrics":       {placement: "kube-state-metrics", resources: "kube-state-metrics.resources"},
		"kube-prometheus-stack-prometheus-node-exporter": {everywhere: true, bare: true},
	},
	"rabbitmq-cluster-operator": {"rabbitmq-cluster-operator": {placement: "clusterOperator", resources: "clusterOperator.resources"}},
	"redis-operator": {"redis-operator": {
		resources: "resources", limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
	}},
}

// placement holds where a workload may run, and its resources.
type placement struct {
	HostNetwork  bool                        `json:"hostNetwork"`
	NodeSelector map[string]string           `json:"nodeSelector"`
	Tolerations  []corev1.Toleration         `json:"tolerations"`
	Resources    corev1.ResourceRequirements `json:"resources"`
}

// object is an object of a chart. The Prometheus operator's kinds have the placement in spec, other workloads in the
// pod template.
type object struct {
	Kind     string
	Metadata metav1.ObjectMeta
	Spec     struct {
		placement `json:",inline"`
		Template  corev1.PodTemplateSpec
	}
}

// placement returns the placement of the object's pods. ok is false if the object has no pods.
func (o object) placement() (p placement, ok bool) {
	pod := o.Spec.Template.Spec
	switch {
	case o.Kind == "Prometheus" || o.Kind == "Alertmanager":
		return o.Spec.placement, true
	case len(pod.Containers) > 0:
		return placement{pod.HostNetwork, pod.NodeSelector, pod.Tolerations, pod.Containers[0].Resources}, true
	default:
		return placement{}, false
	}
}

// Helm finds the chart of each release, the chart accepts the program's values, and its workloads run where the values
// say.
func TestReleases(t *testing.T) {
	eachRelease(t, func(t *testing.T, c *chart.Chart, r release) {
		assert.Equal(t, r.Version, c.Metadata.Version)
		manifest, err := chartstest.Render(c, r)
		require.NoError(t, err)
		found := map[string]bool{}
		for _, text := range strings.Split(manifest, "\n---\n") {
			var o object
			require.NoError(t, yaml.Unmarshal([]byte(text), &o), text)
			got, ok := o.placement()
			if !ok {
				continue
			}
			name := o.Metadata.Name
			by, known := workloads[c.Name()][name]
			require.True(t, known, "workloads does not list %s %s", o.Kind, name)
			found[name] = true
			var want placement
			if by.everywhere {
				want.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
				require.Len(t, got.Tolerations, 1, name)
				assert.True(t, got.Tolerations[0].Operator == corev1.TolerationOpExists && got.Tolerations[0].Key == "", name)
				want.Tolerations = got.Tolerations
				want.HostNetwork = true
			} else {
				valueAt(t, r.Values, by.placement, &want)
				require.NotEmpty(t, want.NodeSelector)
			}
			want.Resources = corev1.ResourceRequirements{}
			if !by.bare {
				valueAt(t, r.Values, by.resources, &want.Resources)
				maps.Copy(want.Resources.Limits, by.limits)
			}
			assert.Equal(t, want, got, name)
		}
		assert.Len(t, found, len(workloads[c.Name()]))
	})
}

// valueAt decodes the value at a path of keys with dots between them. It decodes null if there is no such value.
func valueAt(t *testing.T, values map[string]any, keys string, into any) {
	t.Helper()
	at := any(values)
	for key := range strings.SplitSeq(keys, ".") {
		if key != "" {
			values, _ = at.(map[string]any)
			at = values[key]
		}
	}
	data, err := json.Marshal(at)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// A release fails if an unknown value is added to any object of its values.
func TestUnknownValuesAreRejected(t *testing.T) {
	eachRelease(t, func(t *testing.T, c *chart.Chart, r release) {
		_, err := chartstest.Render(c, r)
		require.NoError(t, err)
		eachObject(r.Values, func(object map[string]any) {
			object["unknown"] = map[string]any{}
			_, err := chartstest.Render(c, r)
			assert.ErrorContains(t, err, "unknown", "beside %v", slices.Sorted(maps.Keys(object)))
			delete(object, "unknown")
		})
	})
}

func eachObject(value any, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, inner := range value {
			eachObject(inner, visit)
		}
	case []any:
		for _, inner := range value {
			eachObject(inner, visit)
		}
	}
}

// An unchanged chart has an unchanged archive, so the mirror does not look changed either.
func TestArchivesAreReproducible(t *testing.T) {
	embedded, err := Embedded()
	require.NoError(t, err)
	for _, c := range embedded {
		first, err := pack(c)
		require.NoError(t, err)
		again, err := pack(c)
		require.NoError(t, err)
		assert.Equal(t, first, again, c.Name())
	}
}

func TestRepositories(t *testing.T) {
	for _, stack := range []string{"dev", "prod"} {
		for name, r := range releases(t, stack) {
			source := strings.TrimPrefix(r.RepositoryOpts.Repo+r.Chart, "https://mirror.example/files/")
			_, host, _ := strings.Cut(repositories[name], "://")
			assert.True(t, host != "" && strings.HasPrefix(source, host), "the program downloads chart %s from %s", name, source)
		}
	}
	assert.Error(t, Add(mirror.Mirror{Dir: t.TempDir()}, &chart.Chart{Metadata: &chart.Metadata{Name: "another"}}))
}
