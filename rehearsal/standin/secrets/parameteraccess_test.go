package secrets

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/standin"
)

// decoded returns an object from YAML.
func decoded(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &o.Object))
	return o
}

// The program's admission policy, in a real API server: a namespace's ExternalSecrets read the namespace's parameters,
// and nothing else that External Secrets offers leads to others.
func TestANamespaceReadsItsOwnParametersOnly(t *testing.T) {
	server.Need(t)
	scheme, err := standin.NewScheme(corev1.AddToScheme)
	require.NoError(t, err)
	define(t, scheme)
	c := direct(t, scheme)
	for _, name := range []string{"auth", "redis", "monitoring", "nobody"} {
		require.NoError(t, client.IgnoreAlreadyExists(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})))
	}

	// try creates an object in a dry run.
	try := func(text string) error { return c.Create(t.Context(), decoded(t, text), client.DryRunAll) }
	external := func(namespace, spec string) string {
		return "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: test, namespace: " + namespace +
			"}\nspec: {secretStoreRef: {kind: ClusterSecretStore, name: aws-ssm}, " + spec + "}"
	}
	data := func(keys ...string) string {
		var list []string
		for _, key := range keys {
			list = append(list, "{secretKey: k"+string(rune('a'+len(list)))+", remoteRef: {key: "+key+"}}")
		}
		return "data: [" + strings.Join(list, ", ") + "]"
	}
	stranger := external("redis", data("/eco2/dev/data/postgres-password"))
	require.NoError(t, try(stranger), "without the policy it is possible")

	// From before the policy: it must be deletable.
	older := decoded(t, strings.Replace(stranger, "name: test", "name: older", 1))
	older.SetFinalizers([]string{"externalsecrets.external-secrets.io/externalsecret-cleanup"})
	require.NoError(t, c.Create(t.Context(), older))

	text, err := os.ReadFile(repo + "/testdata/dev.admission.json")
	require.NoError(t, err)
	var objects []map[string]any
	require.NoError(t, json.Unmarshal(text, &objects))
	require.Len(t, objects, 2)
	defer func() { // the next test's parameters have other names
		for _, fields := range objects {
			assert.NoError(t, c.Delete(t.Context(), &unstructured.Unstructured{Object: fields}))
		}
		assert.Eventually(t, func() bool { return try(stranger) == nil }, timeout, 50*time.Millisecond, "the policy is still in force")
	}()
	for _, fields := range objects {
		require.NoError(t, c.Create(t.Context(), &unstructured.Unstructured{Object: fields}))
	}
	require.Eventually(t, func() bool { return apierrors.IsForbidden(try(stranger)) }, timeout, 50*time.Millisecond, "the policy is not in force")

	for name, test := range map[string]struct{ text, refused string }{
		"a database's own password":         {external("redis", data("/eco2/dev/data/redis-password")), ""},
		"its own, by version":               {external("redis", data("/eco2/dev/data/redis-password:3")), ""},
		"below its own name":                {external("redis", data("/eco2/dev/redis/replication")), ""},
		"an API's databases":                {external("auth", data("/eco2/dev/data/postgres-password", "/eco2/dev/data/redis-password")), ""},
		"what is no secret":                 {external("auth", data("/eco2/dev/network/vpc-id", "/eco2/dev/ingress/acm-certificate-arn")), ""},
		"one parameter with several values": {external("auth", "dataFrom: [{extract: {key: /eco2/dev/auth/keys}}]"), ""},
		"Grafana's password":                {external("monitoring", data("/eco2/dev/platform/grafana-admin-password")), ""},

		"another database's password": {stranger, "namespace redis may not read parameter /eco2/dev/data/postgres-password, only those whose names begin with: " +
			"/eco2/dev/network/, /eco2/dev/cluster/, /eco2/dev/ingress/, /eco2/dev/data/redis-, /eco2/dev/redis/"},
		"behind its own":            {external("redis", data("/eco2/dev/data/redis-password", "/eco2/dev/auth/key")), "/eco2/dev/auth/key"},
		"of another API":            {external("auth", data("/eco2/dev/redis/replication")), "/eco2/dev/redis/replication"},
		"of a name that begins so":  {external("auth", data("/eco2/dev/authority/key")), "/eco2/dev/authority/key"},
		"of the platform":           {external("auth", data("/eco2/dev/platform/grafana-admin-password")), "/eco2/dev/platform/"},
		"of a database, by Grafana": {external("monitoring", data("/eco2/dev/data/redis-password")), "/eco2/dev/data/redis-password"},
		"of another stack":          {external("auth", data("/eco2/prod/auth/key")), "/eco2/prod/auth/key"},
		"by its ARN": {external("redis", data("'arn:aws:ssm:ap-northeast-2:123456789012:parameter/eco2/dev/data/postgres-password'")),
			"may not read parameter arn:aws:ssm:"},
		"several values of another's":  {external("auth", "dataFrom: [{extract: {key: /eco2/dev/platform/grafana-admin-password}}]"), "/eco2/dev/platform/"},
		"all that a search finds":      {external("auth", `dataFrom: [{find: {path: /eco2/dev, name: {regexp: ".*"}}}]`), "find and sourceRef are not allowed"},
		"through a store of its own":   {external("auth", "data: [{secretKey: k, remoteRef: {key: /eco2/dev/auth/k}, sourceRef: {storeRef: {kind: SecretStore, name: own}}}]"), "find and sourceRef"},
		"through a generator":          {external("auth", "dataFrom: [{sourceRef: {generatorRef: {apiVersion: generators.external-secrets.io/v1alpha1, kind: Webhook, name: own}}}]"), "find and sourceRef"},
		"in a namespace of nobody's":   {external("nobody", data("/eco2/dev/nobody/key")), "namespace nobody may not read parameter"},
		"a store of a namespace's own": {"apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: own, namespace: auth}\nspec: {provider: {aws: {service: ParameterStore, region: ap-northeast-2}}}", "only ExternalSecrets may be created"},
		"a generator of a namespace":   {"apiVersion: generators.external-secrets.io/v1alpha1\nkind: Webhook\nmetadata: {name: own, namespace: auth}\nspec: {url: 'http://169.254.169.254/latest/api/token', method: PUT, result: {jsonPath: $}}", "only ExternalSecrets may be created"},
	} {
		t.Run(name, func(t *testing.T) {
			err := try(test.text)
			if test.refused == "" {
				assert.NoError(t, err)
				return
			}
			assert.True(t, apierrors.IsForbidden(err), "%v", err)
			assert.ErrorContains(t, err, test.refused)
		})
	}

	t.Run("a change is refused as well", func(t *testing.T) {
		own := create(t, c, strings.Replace(external("redis", data("/eco2/dev/data/redis-password")), "name: test", "name: changed", 1))
		require.NoError(t, unstructured.SetNestedSlice(own.Object, []any{map[string]any{
			"secretKey": "k", "remoteRef": map[string]any{"key": "/eco2/dev/data/postgres-password"},
		}}, "spec", "data"))
		assert.ErrorContains(t, c.Update(t.Context(), own), "namespace redis may not read parameter")
	})
	t.Run("what existed before can be deleted", func(t *testing.T) {
		require.NoError(t, c.Delete(t.Context(), older))
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(older), older))
		older.SetFinalizers(nil)
		require.NoError(t, c.Update(t.Context(), older))
		assert.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(older), older)))
	})
	t.Run("a store for the whole cluster is for who may do that", func(t *testing.T) {
		assert.NoError(t, try(store))
	})
}
