package machines

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/supply/gitserver"
	"eco2/rehearsal/supply/mirror"
	"eco2/rehearsal/supply/workloads"
)

// application holds the fields of an Argo CD Application that the tests use.
type application struct {
	object
	Status struct {
		Sync   struct{ Status string }
		Health struct {
			Status             string
			LastTransitionTime time.Time
		}
	}
}

// working returns all Applications of Argo CD. It checks that there are as many as expected, and that each is synced
// and healthy.
func (c *cluster) working(t *assert.CollectT, want int) []application {
	all, err := list[application](c, "applications", "--namespace=argocd")
	require.NoError(t, err)
	assertWorking(t, all, want)
	return all
}

// assertWorking checks that there are as many Applications as expected, and that each is synced and healthy.
func assertWorking(t assert.TestingT, all []application, want int) {
	assert.Len(t, all, want)
	for _, a := range all {
		assert.Equal(t, "Synced Healthy", a.Status.Sync.Status+" "+a.Status.Health.Status, a.Metadata.Name)
	}
}

// commit changes a file of the workloads in Git. Nil removes it.
func (c *cluster) commit(t *testing.T, file string, data []byte, message string) {
	t.Helper()
	_, err := workloads.Change(filepath.Join(c.Dir, gitserver.Directory, workloads.Name), map[string][]byte{file: data}, message)
	require.NoError(t, err)
}

// readGit asks Argo CD to read Git again. Repeat it until the commit has arrived, because Argo CD removes the annotation
// even if it read Git before the commit.
func (c *cluster) readGit(t *assert.CollectT) {
	_, err := c.try("", "--namespace=argocd", "annotate", "--overwrite", "application", "root", "argocd.argoproj.io/refresh=normal")
	assert.NoError(t, err)
}

// awaitWorkloads waits until all Applications are synced and healthy, and checks that they were created wave by wave.
func (c *cluster) awaitWorkloads(t *testing.T) {
	t.Helper()
	var all []application
	healthy := map[string]time.Time{} // when each first became healthy; later a slow probe may change the time
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		all = c.working(t, 15) // the root, seven of its own and seven of an ApplicationSet
		for _, a := range all {
			if _, known := healthy[a.Metadata.Name]; !known && a.Status.Health.Status == "Healthy" {
				healthy[a.Metadata.Name] = a.Status.Health.LastTransitionTime
			}
		}
	}, 10*time.Minute, 3*time.Second)

	waves := map[int]application{}
	for _, a := range all {
		if wave, err := strconv.Atoi(a.Metadata.Annotations["argocd.argoproj.io/sync-wave"]); err == nil {
			waves[wave] = a
		}
	}
	order := slices.Sorted(maps.Keys(waves))
	require.Equal(t, []int{0, 10, 20, 30, 40, 60, 70}, order, "50 is the ApplicationSet's")
	for i, wave := range order[1:] {
		before, after := waves[order[i]].Metadata, waves[wave].Metadata
		assert.False(t, after.CreationTimestamp.Before(healthy[before.Name]),
			"%s was created at %s, before %s was healthy at %s", after.Name, after.CreationTimestamp, before.Name, healthy[before.Name])
	}
}

// listed checks the output of `argocd app list --core`, which reads the cluster without Argo CD's server.
func (c *cluster) listed(t *testing.T) {
	t.Helper()
	argocd, err := mirror.Find(c.Options.Repo, "argocd")
	require.NoError(t, err)
	c.kubectl("config", "set-context", "--current", "--namespace=argocd") // where the command looks for Argo CD
	defer c.kubectl("config", "set-context", "--current", "--namespace=default")
	list := exec.CommandContext(t.Context(), argocd.Binary("argocd"), "app", "list", "--core", "--output=json")
	list.Env = append(os.Environ(), "KUBECONFIG="+c.config, "ARGOCD_CONFIG_DIR="+t.TempDir())
	output, err := list.Output()
	require.NoError(t, err)
	var all []application
	require.NoError(t, json.Unmarshal(output, &all))
	assertWorking(t, all, 15)
}

// retired are the domains that TestPlatform removes. Each machine costs time in every step after that, and those steps need
// no more than one API's.
var retired = []string{"my", "scan", "character", "location", "info", "chat"}

// retire removes the APIs of the retired domains from Git, and when Argo CD has removed their Applications, their nodes by
// one update.
func (c *cluster) retire(t *testing.T) {
	const file = "clusters/dev/apps/50-apis.yaml"
	text, err := os.ReadFile(filepath.Join(c.Options.Repo, "rehearsal", "supply", "workloads", "repository", file))
	require.NoError(t, err)
	var lines []string
	nodes, removed := c.awaitReady(14, time.Minute), []string{}
	for _, domain := range retired {
		lines = append(lines, "      - {domain: "+domain+"}\n", "")
		removed = append(removed, "k8s-api-"+domain)
		delete(nodes, "k8s-api-"+domain)
	}
	c.commit(t, file, []byte(c.Replace(lines...)(string(text))), "Remove six domains")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		c.readGit(t)
		c.working(t, 15-len(retired))
	}, 5*time.Minute, 5*time.Second)

	c.Options.Config["nodes"] = without(removed...)
	c.Changes()
	c.Must(c.Up())
	changes := c.Changes()
	for _, node := range removed {
		c.InOrder(changes, "Delete "+commandType+" member-"+node, "Delete aws:ec2/instance:Instance "+node)
	}
	assert.NotContains(t, strings.Join(changes, "\n"), releaseType)
	assert.Len(t, c.machines(), len(nodes))
	c.same(t, nodes, nil)
}

// volumeAndSecret checks that the workloads' database has a volume in AWS, and that Secrets have the values of their
// SSM parameters.
func (c *cluster) volumeAndSecret(t *testing.T) {
	t.Helper()
	account := aws.Open(c.Dir)
	assert.Equal(t, "Bound", c.kubectl("--namespace=postgres", "get", "persistentvolumeclaim", "data-postgresql-0", "--output=jsonpath={.status.phase}"))
	volumes, err := account.Volumes()
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	assert.Equal(t, c.machines()["k8s-postgresql"].InstanceID, volumes[0].InstanceID)
	assert.Equal(t, "owned", volumes[0].Tags["kubernetes.io/cluster/eco2-local"])
	assert.Equal(t, "data-postgresql-0", volumes[0].Tags["kubernetes.io/created-for/pvc/name"])

	parameters, err := account.Parameters()
	require.NoError(t, err)
	for name, secret := range map[string][2]string{
		"/eco2/local/platform/grafana-admin-password": {"monitoring/grafana-admin", "admin-password"},
		"/eco2/local/data/postgres-password":          {"postgres/postgresql-secret", "password"},
	} {
		at := slices.IndexFunc(parameters, func(p aws.Parameter) bool { return p.Name == name })
		if !assert.GreaterOrEqual(t, at, 0, name) {
			continue
		}
		namespace, object := filepath.Split(secret[0])
		encoded := c.kubectl("--namespace="+filepath.Clean(namespace), "get", "secret", object, "--output=jsonpath={.data."+secret[1]+"}")
		value, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		assert.True(t, parameters[at].Value == string(value), "Secret %s does not have the value of %s", secret[0], name)
	}
}

// newArgoCDPassword lets Argo CD generate another password, as docs/operations.md describes, and logs in with it. Argo CD
// needs no Secret with it.
func (c *cluster) newArgoCDPassword(t *testing.T) {
	t.Helper()
	password := func() string {
		encoded := c.kubectl("--namespace=argocd", "get", "secret", "argocd-initial-admin-secret", "--ignore-not-found", "--output=jsonpath={.data.password}")
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		return string(decoded)
	}
	login := func(password string) int {
		body, err := json.Marshal(map[string]string{"username": "admin", "password": password})
		require.NoError(t, err)
		response, err := c.outside(t).Post(argoCDURL+"/api/v1/session", "application/json", bytes.NewReader(body))
		if err != nil {
			return 0 // its server restarts
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	old := password()
	require.Equal(t, http.StatusOK, login(old))
	c.kubectl("--namespace=argocd", "delete", "secret", "argocd-initial-admin-secret")
	require.Equal(t, http.StatusOK, login(old), "deleting the Secret does not change the password")

	c.kubectl("--namespace=argocd", "patch", "secret", "argocd-secret", "--type=json",
		`--patch=[{"op": "remove", "path": "/data/admin.password"}, {"op": "remove", "path": "/data/admin.passwordMtime"}]`)
	c.kubectl("--namespace=argocd", "rollout", "restart", "deployment/argocd-server")
	c.kubectl("--namespace=argocd", "rollout", "status", "deployment/argocd-server", "--timeout=2m")
	require.Eventually(t, func() bool { now := password(); return now != "" && login(now) == http.StatusOK }, 2*time.Minute, time.Second)
	assert.NotEqual(t, old, password())
	// The load balancer may still use the old pod, and answer for it with a 5xx.
	var status int
	require.Eventually(t, func() bool {
		status = login(old)
		return status != 0 && status < http.StatusInternalServerError
	}, 2*time.Minute, time.Second)
	assert.Equal(t, http.StatusUnauthorized, status)
}

// foreignParameter checks that the API server refuses an ExternalSecret for another namespace's parameter, and what
// would lead to it in another way.
func (c *cluster) foreignParameter(t *testing.T) {
	t.Helper()
	external := func(spec string) string {
		return "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: foreign, namespace: redis}\n" +
			"spec: {secretStoreRef: {kind: ClusterSecretStore, name: aws-ssm}, " + spec + "}"
	}
	for text, message := range map[string]string{
		external("data: [{secretKey: key, remoteRef: {key: /eco2/local/data/postgres-password}}]"): "namespace redis may not read parameter /eco2/local/data/postgres-password",
		external("dataFrom: [{extract: {key: /eco2/local/platform/grafana-admin-password}}]"):      "namespace redis may not read parameter /eco2/local/platform/",
		external(`dataFrom: [{find: {path: /eco2/local, name: {regexp: ".*"}}}]`):                  "find and sourceRef are not allowed",
		"apiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: own, namespace: redis}\n" +
			"spec: {provider: {aws: {service: ParameterStore, region: ap-northeast-2}}}": "only ExternalSecrets may be created",
	} {
		_, err := c.try(text, "apply", "--filename=-")
		assert.ErrorContains(t, err, message)
	}
	_, err := c.try(external("data: [{secretKey: key, remoteRef: {key: /eco2/local/data/redis-password}}]"), "apply", "--dry-run=server", "--filename=-")
	assert.NoError(t, err)
}

// healAndPrune deletes a Deployment that Argo CD manages, which it must create again, and then removes an Application
// from Git, which it must prune.
func (c *cluster) healAndPrune(t *testing.T) {
	t.Helper()
	deployment := func() string {
		out, err := c.try("", "--namespace=redis", "get", "deployment", "redis", "--output=jsonpath={.metadata.uid}")
		if err != nil {
			return ""
		}
		return out
	}
	before := deployment()
	require.NotEmpty(t, before)
	c.kubectl("--namespace=redis", "delete", "deployment", "redis")
	require.Eventually(t, func() bool { now := deployment(); return now != "" && now != before }, 3*time.Minute, time.Second)

	const file = "clusters/dev/apps/70-workers.yaml"
	c.commit(t, file, nil, "Remove the workers")
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		c.readGit(t)
		out, err := c.try("", "--namespace=my", "get", "deployment", "worker", "--ignore-not-found", "--output=name")
		assert.NoError(t, err)
		assert.Empty(t, out)
		all, err := list[application](c, "applications", "--namespace=argocd")
		assert.NoError(t, err)
		assert.Len(t, all, 15-1-len(retired))
	}, 3*time.Minute, 5*time.Second)
}
