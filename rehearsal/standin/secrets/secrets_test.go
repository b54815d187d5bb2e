package secrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"

	"eco2/rehearsal/cloud/awsapitest"
	"eco2/rehearsal/cluster/apitest"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/standin"
	"eco2/rehearsal/standin/certificate"
	"eco2/rehearsal/supply/charts"
	"eco2/rehearsal/supply/charts/chartstest"
)

const repo = "../../.."

var server *apitest.Server

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	apitest.Main(m, repo, &server)
}

// timeout is how long a test waits for anything. The garbage collector looks for new kinds only every 30 seconds.
const timeout = 90 * time.Second

const password = "Tr0ub4dor&3"

// put sets a SecureString parameter in the account's SSM.
func put(w *awsapitest.World, name, value string) {
	w.Helper()
	w.Create("aws:ssm/parameter:Parameter", name, map[string]any{"name": name, "type": "SecureString", "value": value, "overwrite": true})
}

// cluster creates an account with a password parameter, installs upstream's definitions in the API server and runs the
// controllers.
func cluster(t *testing.T) (*awsapitest.World, client.Client) {
	t.Helper()
	server.Need(t)
	w := awsapitest.New(t, repo)
	put(w, "/eco2/dev/password", password)
	rest, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	scheme, err := standin.NewScheme(corev1.AddToScheme, registrationv1.AddToScheme)
	require.NoError(t, err)
	define(t, scheme)
	rest.Impersonate.UserName = account("external-secrets")
	skip := true // each test has its own manager, with controllers of the same names
	m, err := manager.New(rest, manager.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: &skip},
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	require.NoError(t, err)
	require.NoError(t, add(m, w.Client))
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { assert.NoError(t, m.Start(ctx)) })
	t.Cleanup(func() { stop(); group.Wait() })
	return w, direct(t, scheme)
}

// direct returns an administrator's client without a cache.
func direct(t *testing.T, scheme *runtime.Scheme) client.Client {
	t.Helper()
	rest, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	c, err := client.New(rest, client.Options{Scheme: scheme})
	require.NoError(t, err)
	return c
}

// namespace is the release's namespace.
const namespace = "platform-system"

func account(name string) string { return "system:serviceaccount:" + namespace + ":" + name }

// grant creates the RBAC objects of the chart's service accounts.
func grant(t *testing.T, c client.Client) {
	t.Helper()
	require.NoError(t, client.IgnoreAlreadyExists(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})))
	embedded, err := charts.Embedded()
	require.NoError(t, err)
	for _, o := range chartstest.RBAC(chartstest.Objects(t, embedded, chartstest.Releases(t, repo, "dev")["external-secrets"])) {
		require.NoError(t, client.IgnoreAlreadyExists(c.Create(t.Context(), o)))
	}
}

var defined atomic.Bool

// definitions lists the kinds that the stand-in supports, and those that tests of refusals try to create.
var definitions = []string{
	"clustersecretstores.external-secrets.io", "externalsecrets.external-secrets.io",
	"secretstores.external-secrets.io", "webhooks.generators.external-secrets.io",
}

// define installs upstream's definitions, once for all tests.
func define(t *testing.T, scheme *runtime.Scheme) {
	t.Helper()
	if defined.Swap(true) {
		return
	}
	grant(t, direct(t, scheme))
	dir, err := toolchain.ModuleDir(t.Context(), "../../supply/mirror/build/external-secrets", "github.com/external-secrets/external-secrets")
	require.NoError(t, err)
	bundle, err := os.ReadFile(filepath.Join(dir, "deploy", "crds", "bundle.yaml"))
	require.NoError(t, err)
	c := direct(t, scheme)
	for _, text := range strings.Split(string(bundle), "\n---\n") {
		definition := &unstructured.Unstructured{}
		require.NoError(t, yaml.Unmarshal([]byte(text), &definition.Object))
		name := definition.GetName()
		if !slices.Contains(definitions, name) {
			continue
		}
		require.NoError(t, c.Create(t.Context(), definition))
		require.Eventually(t, func() bool {
			require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: name}, definition))
			conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
			for _, one := range conditions {
				if one := one.(map[string]any); one["type"] == "Established" && one["status"] == "True" {
					return true
				}
			}
			return false
		}, timeout, 20*time.Millisecond)
	}
}

// create creates an object from YAML and deletes it when the test ends.
func create(t *testing.T, c client.Client, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &o.Object))
	require.NoError(t, c.Create(t.Context(), o))
	t.Cleanup(func() { assert.NoError(t, c.Delete(context.Background(), o)) })
	return o
}

// becomes waits until an object's condition Ready has a status and a reason, and returns its message.
func becomes(t *testing.T, c client.Client, o *unstructured.Unstructured, status corev1.ConditionStatus, reason string) string {
	t.Helper()
	var last condition
	require.Eventually(t, func() bool {
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		last = readyCondition(o)
		return last.Status == status && last.Reason == reason
	}, timeout, 20*time.Millisecond, "%s %s", o.GetKind(), o.GetName())
	return last.Message
}

const store = `
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {name: aws-ssm}
spec: {provider: {aws: {service: ParameterStore, region: ap-northeast-2}}}`

// grafana is an ExternalSecret like the program's.
const grafana = `
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: grafana-admin, namespace: default}
spec:
  refreshInterval: 1s
  secretStoreRef: {kind: ClusterSecretStore, name: aws-ssm}
  target:
    name: grafana-admin
    template: {data: {admin-user: admin, admin-password: "{{ .password }}"}}
  data: [{secretKey: password, remoteRef: {key: /eco2/dev/password}}]`

func TestSecretFollowsItsParameter(t *testing.T) {
	w, c := cluster(t)
	// The order does not matter: an ExternalSecret is reconciled again when its store becomes ready.
	external := create(t, c, grafana)
	becomes(t, c, create(t, c, store), corev1.ConditionTrue, "Valid")
	becomes(t, c, external, corev1.ConditionTrue, "SecretSynced")

	secret := &corev1.Secret{}
	has := func(want string) func() bool {
		return func() bool {
			err := c.Get(t.Context(), client.ObjectKeyFromObject(external), secret)
			return err == nil && string(secret.Data["admin-password"]) == want
		}
	}
	require.True(t, has(password)())
	assert.Equal(t, "admin", string(secret.Data["admin-user"]))
	assert.Len(t, secret.Data, 2, "the Secret has the template's keys only")
	require.Len(t, secret.OwnerReferences, 1)
	assert.Equal(t, external.GetUID(), secret.OwnerReferences[0].UID)

	put(w, "/eco2/dev/password", "another")
	require.Eventually(t, has("another"), timeout, 20*time.Millisecond)

	require.NoError(t, c.Delete(t.Context(), secret))
	require.Eventually(t, has("another"), timeout, 20*time.Millisecond)
	assert.NotContains(t, fmt.Sprint(external.Object), password)
}

// A changed version in an ExternalSecret is applied at once, before the refresh interval ends, together with the
// annotation of its template.
func TestNewParameterVersionIsAppliedAtOnce(t *testing.T) {
	w, c := cluster(t)
	create(t, c, store)
	text := strings.NewReplacer("grafana-admin", "versioned", "refreshInterval: 1s", "refreshInterval: 1h",
		"template: {", `template: {metadata: {annotations: {eco2.io/parameter-version: "1"}}, `,
		"/eco2/dev/password}", `/eco2/dev/password, version: "1"}`).Replace(grafana)
	external := create(t, c, text)
	becomes(t, c, external, corev1.ConditionTrue, "SecretSynced")

	put(w, "/eco2/dev/password", "the second")
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(text, `"1"`, `"2"`)), &external.Object))
	external.SetResourceVersion("")
	external.SetManagedFields(nil)
	require.NoError(t, c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(external), client.FieldOwner("test"), client.ForceOwnership))
	require.Eventually(t, func() bool {
		secret := &corev1.Secret{}
		err := c.Get(t.Context(), client.ObjectKeyFromObject(external), secret)
		return err == nil && secret.Annotations["eco2.io/parameter-version"] == "2" && string(secret.Data["admin-password"]) == "the second"
	}, timeout, 20*time.Millisecond)

	missing := create(t, c, strings.NewReplacer("name: versioned", "name: ahead", `version: "1"}`, `version: "9"}`).Replace(text))
	assert.Contains(t, becomes(t, c, missing, corev1.ConditionFalse, "SecretSyncedError"), "ParameterVersionNotFound")
}

// Only the namespaces in a store's conditions may use the store.
func TestStoreConditionsLimitNamespaces(t *testing.T) {
	_, c := cluster(t)
	create(t, c, strings.Replace(store, "spec: {", "spec: {conditions: [{namespaces: [monitoring, kube-public]}], ", 1))
	denied := create(t, c, strings.ReplaceAll(grafana, "grafana-admin", "denied"))
	require.Eventually(t, func() bool {
		return becomes(t, c, denied, corev1.ConditionFalse, "SecretSyncedError") ==
			`using cluster store "aws-ssm" is not allowed from namespace "default": denied by spec.condition`
	}, timeout, 20*time.Millisecond)
	allowed := create(t, c, strings.NewReplacer("grafana-admin", "allowed", "namespace: default", "namespace: kube-public").Replace(grafana))
	becomes(t, c, allowed, corev1.ConditionTrue, "SecretSynced")
}

func TestSecretIsDeletedWithItsOwner(t *testing.T) {
	_, c := cluster(t)
	create(t, c, store)
	external := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(grafana, "grafana-admin", "deleted")), &external.Object))
	require.NoError(t, c.Create(t.Context(), external))
	becomes(t, c, external, corev1.ConditionTrue, "SecretSynced")
	require.NoError(t, c.Delete(t.Context(), external))
	require.Eventually(t, func() bool {
		return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(external), &corev1.Secret{}))
	}, timeout, 20*time.Millisecond)
}

// An error is reported in the condition and an event, with the parameter's name but without its value.
func TestErrorsAreReportedWithoutValues(t *testing.T) {
	_, c := cluster(t)
	create(t, c, store)
	for name, test := range map[string]struct{ old, new, says string }{
		"missing":  {"/eco2/dev/password", "/eco2/dev/passwort", "reading parameter /eco2/dev/passwort: calling AmazonSSM.GetParameter: ParameterNotFound: Parameter /eco2/dev/passwort not found."},
		"denied":   {"/eco2/dev/password", "/other/password", "reading parameter /other/password: calling AmazonSSM.GetParameter: AccessDeniedException: User: arn:aws:sts::"},
		"template": {"{{ .password }}", "{{ .passwort }}", "executing the template of key admin-password failed; the fetched keys are [password]"},
		"store":    {"aws-ssm", "another", `looking for the store: ClusterSecretStore.external-secrets.io "another" not found`},
		"value":    {"{{ .password }}", "{{ slice .password 99 }}", "executing the template of key admin-password failed; the fetched keys are [password]"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(strings.Replace(grafana, test.old, test.new, 1), "grafana-admin", name)
			external := create(t, c, text)
			// The first error may be that the store is not ready yet.
			require.Eventually(t, func() bool {
				return strings.HasPrefix(becomes(t, c, external, corev1.ConditionFalse, "SecretSyncedError"), test.says)
			}, timeout, 20*time.Millisecond)
			assert.True(t, apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(external), &corev1.Secret{})))
			all := &corev1.EventList{}
			require.Eventually(t, func() bool {
				require.NoError(t, c.List(t.Context(), all))
				for _, e := range all.Items {
					if e.InvolvedObject.Name == name && e.Reason == "UpdateFailed" && strings.HasPrefix(e.Message, test.says) {
						return true
					}
				}
				return false
			}, timeout, 20*time.Millisecond)
			for _, e := range all.Items {
				assert.NotContains(t, e.Message, password)
			}
		})
	}
}

func TestStoreInAnotherRegionIsInvalid(t *testing.T) {
	_, c := cluster(t)
	message := becomes(t, c, create(t, c, strings.Replace(store, "ap-northeast-2", "eu-north-1", 1)), corev1.ConditionFalse, "InvalidProviderConfig")
	assert.Contains(t, message, "eu-north-1")
}

// The webhook allows what the controller supports. It denies the rest and names the field or value.
func TestValidation(t *testing.T) {
	const secretPath, storePath = "/validate-external-secrets-io-v1-externalsecret", "/validate-external-secrets-io-v1-clustersecretstore"
	for name, test := range map[string]struct{ path, text, old, new, says string }{
		"secret":   {path: secretPath, text: grafana},
		"store":    {path: storePath, text: store},
		"provider": {storePath, store, "aws: {", "vault: {", "vault"},
		"service":  {storePath, store, "ParameterStore", "SecretsManager", "SecretsManager"},
		"policy":   {secretPath, grafana, "name: grafana-admin\n    template", "creationPolicy: Orphan\n    template", "creationPolicy"},
		"property": {secretPath, grafana, "password}}]", "password, property: user}}]", "property"},
		"syntax":   {secretPath, grafana, "{{ .password }}", "{{ .password", "admin-password"},
		"function": {secretPath, grafana, "{{ .password }}", "{{ .password | b64enc }}", "b64enc"},
		"kind":     {secretPath, grafana, "kind: ClusterSecretStore", "kind: SecretStore", "SecretStore"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(test.text, test.old, test.new, 1)
			if test.old != "" {
				require.NotEqual(t, test.text, text)
			}
			raw, err := yaml.YAMLToJSON([]byte(text))
			require.NoError(t, err)
			request := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
			}}
			answer := validating(validators[test.path])(t.Context(), request)
			assert.Equal(t, test.says == "", answer.Allowed)
			if test.says != "" {
				assert.Contains(t, answer.Result.Message, test.says)
			}
			request.Operation, request.Object = admissionv1.Delete, runtime.RawExtension{}
			assert.True(t, validating(validators[test.path])(t.Context(), request).Allowed, "deletes are allowed")
		})
	}
}

// The webhook configuration gets the authority of the webhook's certificate, which later reconciliations keep.
func TestCertificates(t *testing.T) {
	server.Need(t)
	scheme, err := standin.NewScheme(corev1.AddToScheme, registrationv1.AddToScheme)
	require.NoError(t, err)
	c, ctx := direct(t, scheme), t.Context()
	grant(t, c)
	none, path := registrationv1.SideEffectClassNone, "/"
	webhooks := &registrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "secretstore-validate", Labels: webhookLabels},
		Webhooks: []registrationv1.ValidatingWebhook{{
			Name: "validate.clustersecretstore.external-secrets.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: registrationv1.WebhookClientConfig{Service: &registrationv1.ServiceReference{Namespace: namespace, Name: webhookName, Path: &path}},
		}},
	}
	key := client.ObjectKey{Namespace: namespace, Name: webhookName}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	require.NoError(t, c.Create(ctx, empty))
	require.NoError(t, c.Create(ctx, webhooks))
	t.Cleanup(func() {
		assert.NoError(t, c.Delete(context.Background(), webhooks))
		assert.NoError(t, c.Delete(context.Background(), empty))
	})
	name := webhookName + "." + namespace + ".svc"
	rest, err := clientcmd.RESTConfigFromKubeConfig([]byte(server.Kubeconfig))
	require.NoError(t, err)
	rest.Impersonate.UserName = account("external-secrets-cert-controller")
	own, err := client.New(rest, client.Options{Scheme: scheme})
	require.NoError(t, err)
	certs := certificates{cluster: own, injected: &atomic.Bool{}, secret: certificate.Secret{
		ObjectKey: key, Authority: "ca.crt", Certificate: corev1.TLSCertKey, Key: corev1.TLSPrivateKeyKey, Names: []string{name},
	}}
	var injected []byte
	for range 2 {
		_, err := certs.Reconcile(ctx, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(webhooks)})
		require.NoError(t, err)
		require.True(t, certs.injected.Load())
		require.NoError(t, c.Get(ctx, client.ObjectKeyFromObject(webhooks), webhooks))
		if injected == nil {
			injected = webhooks.Webhooks[0].ClientConfig.CABundle
		}
		assert.Equal(t, injected, webhooks.Webhooks[0].ClientConfig.CABundle)
	}
	secret := &corev1.Secret{}
	require.NoError(t, c.Get(ctx, key, secret))
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(injected))
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	assert.NoError(t, err)
}

// The API server asks the webhook and rejects a store that the controller does not support.
func TestWebhook(t *testing.T) {
	server.Need(t)
	scheme, err := standin.NewScheme(corev1.AddToScheme, registrationv1.AddToScheme)
	require.NoError(t, err)
	define(t, scheme)
	c := direct(t, scheme)
	grant(t, c)
	secret := certificate.Secret{
		ObjectKey: client.ObjectKey{Namespace: namespace, Name: webhookName},
		Authority: "ca.crt", Certificate: corev1.TLSCertKey, Key: corev1.TLSPrivateKeyKey, Names: []string{"localhost"},
	}
	authority, err := secret.Ensure(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() {
		kept := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: webhookName}}
		assert.NoError(t, c.Delete(context.Background(), kept))
	})

	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	actAs(t, account(webhookName))
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { assert.NoError(t, serve(ctx, namespace, port, "0")) })
	t.Cleanup(func() { stop(); group.Wait() })

	none, url := registrationv1.SideEffectClassNone, fmt.Sprintf("https://localhost:%d/validate-external-secrets-io-v1-clustersecretstore", port)
	webhooks := &registrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "secretstore-validate"},
		Webhooks: []registrationv1.ValidatingWebhook{{
			Name: "validate.clustersecretstore.external-secrets.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: registrationv1.WebhookClientConfig{URL: &url, CABundle: authority},
			Rules: []registrationv1.RuleWithOperations{{
				Operations: []registrationv1.OperationType{registrationv1.Create},
				Rule:       registrationv1.Rule{APIGroups: []string{version.Group}, APIVersions: []string{version.Version}, Resources: []string{"clustersecretstores"}},
			}},
		}},
	}
	require.NoError(t, c.Create(t.Context(), webhooks))
	t.Cleanup(func() { assert.NoError(t, c.Delete(context.Background(), webhooks)) })

	wrong := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(strings.Replace(store, "ParameterStore", "SecretsManager", 1)), &wrong.Object))
	// The API server allows every create until it knows the webhook, and then rejects every create until the webhook
	// answers.
	require.Eventually(t, func() bool {
		err := c.Create(t.Context(), wrong.DeepCopy())
		if err == nil {
			require.NoError(t, c.Delete(t.Context(), wrong.DeepCopy()))
			return false
		}
		return strings.Contains(err.Error(), "SecretsManager")
	}, timeout, 100*time.Millisecond)
	create(t, c, store)
}

// actAs sets KUBECONFIG to a kubeconfig that impersonates an account, for code that finds the API server by itself.
func actAs(t *testing.T, name string) {
	t.Helper()
	kubeconfig, err := clientcmd.Load([]byte(server.Kubeconfig))
	require.NoError(t, err)
	for _, user := range kubeconfig.AuthInfos {
		user.Impersonate = name
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*kubeconfig, file))
	t.Setenv("KUBECONFIG", file)
}
