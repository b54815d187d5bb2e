package crds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/mirror/server"
)

var api *apitest.Server

func TestMain(m *testing.M) { apitest.Main(m, "../../..", &api) }

// downloads returns, by release, the URLs that the program downloads and the checksums that it pins for them.
func downloads(t *testing.T) map[string]map[string]string {
	t.Helper()
	golden, err := os.ReadFile("../../../testdata/dev.golden")
	require.NoError(t, err)
	found := map[string]map[string]string{}
	for _, line := range regexp.MustCompile(`crds\.sh (\S+) --files-mirror '' ([^#]+) #`).FindAllStringSubmatch(string(golden), -1) {
		fields := strings.Fields(line[2])
		found[line[1]] = map[string]string{}
		for pair := range slices.Chunk(fields, 2) {
			found[line[1]][pair[0]] = pair[1]
		}
	}
	require.Len(t, found, 5)
	return found
}

func served(t *testing.T) (dir server.Dir, checksums map[string]string) {
	t.Helper()
	m := mirror.Mirror{Dir: t.TempDir()}
	checksums, err := Add(t.Context(), m, "../../..")
	require.NoError(t, err)
	return server.Dir(m.Dir), checksums
}

// The mirror has each file that the program downloads, with the checksum that the program pins or that Add returns.
func TestDownloadsAreServed(t *testing.T) {
	dir, checksums := served(t)
	for release, files := range downloads(t) {
		for url, sum := range files {
			data, err := os.ReadFile(dir.File(url))
			require.NoError(t, err)
			if own, differs := checksums[release]; differs {
				assert.Len(t, files, 1, "%s has one checksum", release)
				assert.NotEqual(t, sum, own, "Add must not return the checksum of %s, which is the pinned one", release)
				sum = own
			}
			actual := sha256.Sum256(data)
			assert.Equal(t, sum, hex.EncodeToString(actual[:]), url)
		}
	}
	assert.Equal(t, []string{"external-secrets", "redis-operator"}, slices.Sorted(maps.Keys(checksums)))
}

// objects holds custom resources like those of the program, its charts and the workloads.
const objects = `
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: aws-ssm}
spec: {provider: {aws: {service: ParameterStore, region: ap-northeast-2}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: grafana-admin, namespace: default}
spec:
  refreshInterval: 1h
  secretStoreRef: {kind: ClusterSecretStore, name: aws-ssm}
  target:
    name: grafana-admin
    template: {data: {admin-user: admin, admin-password: "{{ .password }}"}}
  data: [{secretKey: password, remoteRef: {key: /eco2/dev/platform/grafana-admin-password}}]
---
apiVersion: elbv2.k8s.aws/v1beta1
kind: IngressClassParams
metadata: {name: alb}
---
apiVersion: redis.redis.opstreelabs.in/v1beta2
kind: RedisReplication
metadata: {name: redis, namespace: default}
spec:
  clusterSize: 3
  kubernetesConfig: {image: "quay.io/opstree/redis:v8"}
  storage: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}
  tolerations: [{key: domain, operator: Equal, value: data, effect: NoSchedule}]
---
apiVersion: rabbitmq.com/v1beta1
kind: RabbitmqCluster
metadata: {name: rabbitmq, namespace: default}
spec:
  replicas: 1
  persistence: {storageClassName: gp3, storage: 10Gi}
  tolerations: [{key: domain, operator: Equal, value: integration, effect: NoSchedule}]
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: api, namespace: default}
spec: {selector: {}, endpoints: [{port: http}]}
`

// An API server accepts the definitions, and the objects under strict field validation.
func TestDefinitionsFitTheObjects(t *testing.T) {
	api.Need(t)
	dir, _ := served(t)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(api.Kubeconfig))
	require.NoError(t, err)
	var files []string
	for _, urls := range downloads(t) {
		for url := range urls {
			files = append(files, dir.File(url))
		}
	}
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{Paths: files, ErrorIfPathMissing: true, MaxTime: time.Minute})
	require.NoError(t, err)
	cluster, err := client.New(config, client.Options{})
	require.NoError(t, err)
	strict := client.WithFieldValidation(cluster, metav1.FieldValidationStrict)
	for _, object := range decode(t, []byte(objects)) {
		assert.NoError(t, strict.Create(t.Context(), object), object.GetKind())
	}
	params := decode(t, []byte("{apiVersion: elbv2.k8s.aws/v1beta1, kind: IngressClassParams, metadata: {name: more}, spec: {scheme: none}}"))
	assert.ErrorContains(t, strict.Create(t.Context(), params[0]), "spec.scheme", "the definition lists the valid schemes")
}

func decode(t *testing.T, data []byte) (all []*unstructured.Unstructured) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		if len(object.Object) > 0 {
			all = append(all, object)
		}
	}
}
