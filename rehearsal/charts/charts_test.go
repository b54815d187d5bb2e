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
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/charts/chartstest"
	"eco2/rehearsal/mirror"
	"eco2/rehearsal/mirror/server"
)

type release = chartstest.Release

func releases(t *testing.T, stack string) map[string]release {
	t.Helper()
	return chartstest.Releases(t, "../..", stack)
}

// serve has a mirror with the charts of ours at the address that the releases name.
func serve(t *testing.T) (locate func(release) *chart.Chart) {
	t.Helper()
	ours, err := Ours()
	require.NoError(t, err)
	m := mirror.Mirror{Dir: t.TempDir()}
	require.NoError(t, Add(m, ours...))
	web := httptest.NewServer(server.Handler(m.Dir))
	t.Cleanup(web.Close)
	t.Chdir(t.TempDir()) // a folder with the chart's name would be taken for it
	settings := cli.New()
	settings.RepositoryCache, settings.RepositoryConfig = t.TempDir(), t.TempDir()+"/repositories.yaml"
	here := func(url string) string { return strings.Replace(url, "http://mirror.example", web.URL, 1) }
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

// eachRelease calls check for each release of the stacks whose chart is one of ours.
func eachRelease(t *testing.T, check func(t *testing.T, c *chart.Chart, r release)) {
	t.Helper()
	stacks := map[string]map[string]release{"dev": releases(t, "dev"), "prod": releases(t, "prod")}
	locate := serve(t)
	ours, err := Ours()
	require.NoError(t, err)
	for stack, declared := range stacks {
		for _, c := range ours {
			require.Contains(t, declared, c.Name())
		}
		for _, name := range slices.Sorted(maps.Keys(declared)) {
			if !slices.ContainsFunc(ours, func(c *chart.Chart) bool { return c.Name() == name }) {
				continue
			}
			t.Run(stack+" "+name, func(t *testing.T) { check(t, locate(declared[name]), declared[name]) })
		}
	}
}

// placed is what a chart's value says of a workload's pod.
type placed struct {
	NodeSelector map[string]string           `json:"nodeSelector"`
	Tolerations  []corev1.Toleration         `json:"tolerations"`
	Resources    corev1.ResourceRequirements `json:"resources"`
}

// placements are the workloads of each chart, and the value by which each is placed: empty for the values themselves.
var placements = map[string]map[string]string{
	"aws-load-balancer-controller": {"aws-load-balancer-controller": ""},
	"rabbitmq-cluster-operator":    {"rabbitmq-cluster-operator": "clusterOperator"},
	"redis-operator":               {"redis-operator": ""},
}

// What the program asks for is found, takes its values, and runs where they say.
func TestReleases(t *testing.T) {
	eachRelease(t, func(t *testing.T, c *chart.Chart, r release) {
		assert.Equal(t, r.Version, c.Metadata.Version)
		manifest, err := chartstest.Render(c, r)
		require.NoError(t, err)
		found := map[string]bool{}
		for _, text := range strings.Split(manifest, "\n---\n") {
			var workload appsv1.Deployment // or another kind with the same fields
			require.NoError(t, yaml.Unmarshal([]byte(text), &workload))
			if len(workload.Spec.Template.Spec.Containers) == 0 {
				continue
			}
			key, known := placements[c.Name()][workload.Name]
			require.True(t, known, "nothing is said of where %s %s runs", workload.Kind, workload.Name)
			found[workload.Name] = true
			want := valueAt(t, r.Values, key)
			pod := workload.Spec.Template.Spec
			assert.Equal(t, want.NodeSelector, pod.NodeSelector, workload.Name)
			assert.Equal(t, want.Tolerations, pod.Tolerations, workload.Name)
			assert.Equal(t, want.Resources, pod.Containers[0].Resources, workload.Name)
		}
		assert.Len(t, found, len(placements[c.Name()]))
	})
}

func valueAt(t *testing.T, values map[string]any, key string) (p placed) {
	t.Helper()
	at := any(values)
	if key != "" {
		at = values[key]
	}
	data, err := json.Marshal(at)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &p))
	require.NotEmpty(t, p.NodeSelector)
	return p
}

// A value that a chart does not know is no value: wherever it is, the release fails.
func TestUnknownValues(t *testing.T) {
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

// The same charts are the same bytes, so that nothing is new where nothing is.
func TestReproducible(t *testing.T) {
	ours, err := Ours()
	require.NoError(t, err)
	for _, c := range ours {
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
			source := strings.TrimPrefix(r.RepositoryOpts.Repo+r.Chart, "http://mirror.example/files/")
			_, host, _ := strings.Cut(repositories[name], "://")
			assert.True(t, host != "" && strings.HasPrefix(source, host), "chart %s is asked for at %s", name, source)
		}
	}
	assert.Error(t, Add(mirror.Mirror{Dir: t.TempDir()}, &chart.Chart{Metadata: &chart.Metadata{Name: "another"}}))
}
