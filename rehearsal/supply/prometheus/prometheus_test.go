package prometheus

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/standin"
	"eco2/rehearsal/standin/certificate"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/charts/chartstest"
	"eco2/rehearsal/supply/mirror"
)

const repo = "../../.."

// timeout is how long the test waits for the operator.
const timeout = time.Minute

var server *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, repo, &server) }

const name = "kube-prometheus-stack"

// objects renders the chart with the values of a stack.
func objects(t *testing.T, stack string) []*unstructured.Unstructured {
	t.Helper()
	embedded, err := charts.Embedded()
	require.NoError(t, err)
	return chartstest.Objects(t, embedded, chartstest.Releases(t, repo, stack)[name])
}

// Images returns exactly the chart's images, except that of the certificate's Job.
func TestImagesMatchTheChart(t *testing.T) {
	named := map[string]bool{}
	field := regexp.MustCompile(`(?m)(?:image: |--prometheus-config-reloader=)(\S+)$`)
	for _, o := range objects(t, "prod") {
		text, err := yaml.Marshal(o)
		require.NoError(t, err)
		for _, found := range field.FindAllStringSubmatch(string(text), -1) {
			named[found[1]] = true
		}
	}
	const job = "eco2.example/stand-in/kube-webhook-certgen:1.8.7"
	assert.Contains(t, named, job)
	delete(named, job)
	assert.ElementsMatch(t, slices.Collect(maps.Keys(named)), Images())
}

func TestPrometheusRelease(t *testing.T) {
	assert.Equal(t, "3.14.0", mirror.PrometheusRelease("v0.314.0"))
	assert.Equal(t, "3.5.1", mirror.PrometheusRelease("v0.305.1"))
}

func build(t *testing.T, project, version string) mirror.Built {
	t.Helper()
	built, err := mirror.BuildProject(t.Context(), repo, project, version, os.Stderr)
	require.NoError(t, err)
	return built
}

// The operator, with the chart's arguments and permissions, creates StatefulSets from the chart's objects that run
// where the values say, and writes a configuration that Prometheus accepts.
func TestOperator(t *testing.T) {
	server.Need(t)
	operator, prometheus := build(t, "prometheus-operator", operatorVersion), build(t, "prometheus", prometheusVersion)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	scheme, err := standin.NewScheme(corev1.AddToScheme, appsv1.AddToScheme, storagev1.AddToScheme)
	require.NoError(t, err)
	c, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	define(t, c, operator)
	require.NoError(t, c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}))
	// Without the class the operator creates nothing. The program creates it before the release.
	require.NoError(t, c.Create(t.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "gp3"}, Provisioner: "ebs.csi.aws.com",
	}))
	var deployment appsv1.Deployment
	for _, o := range objects(t, "prod") {
		if o.GetName() == name+"-operator" && o.GetKind() == "Deployment" {
			data, err := o.MarshalJSON()
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(data, &deployment))
		}
		if strings.Contains(o.GetName(), "admission") {
			continue // the webhooks' Service has no pod
		}
		// The API server may not know the kind of a new definition at once.
		require.Eventually(t, func() bool { err = c.Create(t.Context(), o); return !meta.IsNoMatchError(err) }, timeout, 100*time.Millisecond)
		require.NoError(t, err, "%s %s", o.GetKind(), o.GetName())
	}

	secret := certificate.Secret{
		ObjectKey: client.ObjectKey{Namespace: "monitoring", Name: name + "-admission"}, Authority: "ca", Certificate: "cert", Key: "key",
		Names: []string{name + "-operator.monitoring.svc"},
	}
	authority, err := secret.Ensure(t.Context(), c)
	require.NoError(t, err)
	address := run(t, operator.Binary("operator"), mount(t, c, secret, deployment.Spec.Template.Spec.Containers[0].Args))
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))
	answers(t, "https://"+address+"/healthz", &tls.Config{RootCAs: roots, ServerName: secret.Names[0]})

	want := chartstest.Releases(t, repo, "prod")[name].Values
	for set, values := range map[string][2]string{
		"prometheus-" + name + "-prometheus":     {"prometheus", "prometheusSpec"},
		"alertmanager-" + name + "-alertmanager": {"alertmanager", "alertmanagerSpec"},
	} {
		var stateful appsv1.StatefulSet
		require.Eventually(t, func() bool {
			return c.Get(t.Context(), client.ObjectKey{Namespace: "monitoring", Name: set}, &stateful) == nil
		}, timeout, 50*time.Millisecond, set)
		pod := stateful.Spec.Template.Spec
		spec := want[values[0]].(map[string]any)[values[1]].(map[string]any)
		assert.Equal(t, fmt.Sprint(spec["nodeSelector"]), fmt.Sprint(pod.NodeSelector))
		require.Len(t, pod.Tolerations, 1)
		assert.Equal(t, "observability", pod.Tolerations[0].Value)
		require.Len(t, stateful.Spec.VolumeClaimTemplates, 1)
		assert.Equal(t, "gp3", *stateful.Spec.VolumeClaimTemplates[0].Spec.StorageClassName)
	}

	var written corev1.Secret
	require.Eventually(t, func() bool {
		err := c.Get(t.Context(), client.ObjectKey{Namespace: "monitoring", Name: "prometheus-" + name + "-prometheus"}, &written)
		return err == nil && len(written.Data["prometheus.yaml.gz"]) > 0
	}, timeout, 50*time.Millisecond)
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yaml")
	text := unpack(t, written.Data["prometheus.yaml.gz"])
	assert.Contains(t, text, "serviceMonitor/monitoring/"+name+"-kubelet")
	assert.Contains(t, text, "serviceMonitor/monitoring/"+name+"-prometheus-node-exporter")
	// In a pod the config reloader replaces this variable.
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "$(POD_NAME)", "prometheus-0")), 0o600))
	address = run(t, prometheus.Binary("prometheus"), []string{"--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=" + listen})
	answers(t, "http://"+address+"/-/ready", nil)
}

// define installs upstream's definitions of the operator's kinds.
func define(t *testing.T, c client.Client, operator mirror.Built) {
	t.Helper()
	source, err := operator.Source(t.Context())
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(source, "example", "prometheus-operator-crd", "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 10)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		definition := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal(data, &definition.Object))
		require.NoError(t, c.Create(t.Context(), definition))
	}
}

// listen is the address in the chart's arguments, which run replaces by a free one.
const listen = ":10250"

// mount writes a Secret's data to files and changes a program's arguments to use them instead of the mounted volume. It
// adds an argument with which the program impersonates its service account.
func mount(t *testing.T, c client.Client, secret certificate.Secret, args []string) (mounted []string) {
	t.Helper()
	stored := &corev1.Secret{}
	require.NoError(t, c.Get(t.Context(), secret.ObjectKey, stored))
	dir := t.TempDir()
	for key, data := range stored.Data {
		require.NoError(t, os.WriteFile(filepath.Join(dir, key), data, 0o600))
	}
	for _, arg := range args {
		mounted = append(mounted, strings.Replace(arg, "/cert/", dir+"/", 1))
	}
	return append(mounted, "--as=system:serviceaccount:monitoring:"+name+"-operator")
}

// run runs a program until the test ends and returns the address on which it listens. It logs the program's output if
// the test fails.
func run(t *testing.T, binary string, args []string) (address string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = free.Addr().String()
	require.NoError(t, free.Close())
	for i := range args {
		args[i] = strings.Replace(args[i], "="+listen, "="+address, 1)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, []byte(server.Kubeconfig), 0o600))
	ctx, stop := context.WithCancel(context.Background())
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // always an error: it was killed
		if t.Failed() {
			t.Log(output.String())
		}
	})
	return address
}

// answers waits until a URL returns status 200.
func answers(t *testing.T, url string, trust *tls.Config) {
	t.Helper()
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	require.Eventually(t, func() bool {
		response, err := web.Get(url)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }() // nothing was written
		return response.StatusCode == http.StatusOK
	}, timeout, 50*time.Millisecond, url)
}

func unpack(t *testing.T, packed []byte) string {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return string(text)
}
