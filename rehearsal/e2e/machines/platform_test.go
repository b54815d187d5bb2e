package machines

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cloud/balancer"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply"
	"eco2/rehearsal/supply/argocd"
	"eco2/rehearsal/supply/authority"
)

// releaseType is the type of Helm releases.
const releaseType = "kubernetes:helm.sh/v3:Release"

// kustomizationFile is the program's kustomization of Argo CD.
const kustomizationFile = "cluster/manifests/argocd/kustomization.yaml"

// The platform on a cluster of real machines: Argo CD, the releases, what their controllers create in AWS, the
// workloads from Git, and the destroy of it all.
func TestPlatform(t *testing.T) {
	c := newCluster(t)
	c.OwnHome()
	// After a failure the following steps would fail too, and slowly.
	run := func(name string, step func(*testing.T)) {
		if !t.Failed() {
			t.Run(name, step)
		}
	}

	run("the whole program comes up from nothing, and prints no secret", func(t *testing.T) {
		started := time.Now()
		printed := c.Must(c.Up("--diff", "--event-log", c.events()))
		t.Logf("up took %.0f s", time.Since(started).Seconds())
		c.connect()
		c.awaitReady(14, time.Minute)
		c.asTheTable(t)
		c.InOrder(c.Changes(), "Create command:remote:Command argocd", "Create "+releaseType+" external-secrets",
			"Create "+releaseType+" kube-prometheus-stack", "Create kubernetes:argoproj.io/v1alpha1:Application root",
			"Create command:remote:Command sweep")
		secrets := c.ThrowAway()
		assert.Empty(t, secrets.In(printed))
		assert.Empty(t, secrets.In(readFile(t, c.events())))
	})

	run("each release is installed, and runs on its assigned nodes", func(t *testing.T) {
		c.placed(t)
	})

	run("Argo CD answers through the load balancer, which ends TLS", func(t *testing.T) {
		c.awaitAnswers(t)
		for _, node := range []string{"k8s-master", "k8s-worker-ai"} {
			for _, path := range []string{"/healthz", "/"} {
				url := "http://" + c.machines()[node].PrivateIP + ":30080" + path
				out, err := exec.CommandContext(t.Context(), "docker", "exec", c.machines()["k8s-redis"].Container,
					"curl", "--silent", "--fail", "--max-time", "5", url).CombinedOutput()
				assert.NoError(t, err, "%s: %s", url, out)
			}
			unanswered(t, unredirected, "http://"+c.machines()[node].PublicIP+":30080/healthz",
				"the NodePorts of %s are open to an administrator, who has not asked for that", node)
		}
		response, err := c.outside(t).Get("http://argocd.eco2.example/")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, argoCDURL+"/", response.Request.URL.String())
	})

	run("Argo CD is there for administrators only", func(t *testing.T) {
		client := c.clientAt(t, netip.Addr{}) // any address of this host but the operator's
		client.CheckRedirect = unredirected.CheckRedirect
		response, err := client.Get("https://argocd.eco2.example/")
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusFound, response.StatusCode)
		assert.Equal(t, argoCDURL+"/", response.Header.Get("Location"))
		unanswered(t, client, argoCDURL+"/healthz")
	})

	run("the workloads come from Git, one wave after the other", func(t *testing.T) {
		c.awaitWorkloads(t)
	})

	run("Argo CD's own command lists them as healthy", func(t *testing.T) {
		c.listed(t)
	})

	run("six domains are removed: their APIs from Git, then their nodes; nothing else is touched", c.retire)

	run("Argo CD's administrator gets a new password", func(t *testing.T) {
		c.newArgoCDPassword(t)
	})

	run("an Ingress is a load balancer in the one security group, with records", func(t *testing.T) {
		c.oneBalancer(t)
	})

	run("every running image is a documented one, and the other way round", func(t *testing.T) {
		c.knownImages(t)
	})

	run("neither a pod nor a worker's machine becomes more than it is", c.resistsTakeovers)

	run("kube-bench's automated checks pass, except for those that fail on purpose", c.passesBenchmark)

	run("some of Kubernetes' own conformance tests pass", c.conforms)

	run("a claim is a volume, and a parameter a Secret", func(t *testing.T) {
		c.volumeAndSecret(t)
	})

	run("a parameter of another namespace is refused", func(t *testing.T) {
		c.foreignParameter(t)
	})

	run("Applications that no project permits are refused, and Argo CD reports why", func(t *testing.T) {
		c.refuses(t)
	})

	run("metrics-server measures nodes and pods, and an autoscaler scales by that", func(t *testing.T) {
		c.autoscales(t)
	})

	run("a new Grafana password reaches Grafana in one update", func(t *testing.T) {
		c.newPassword(t)
	})

	run("Argo CD restores what was deleted, and prunes what was removed from Git", func(t *testing.T) {
		c.healAndPrune(t)
	})

	run("each rule of the network policies is needed, and all else is denied", c.policies)

	run("up again changes nothing, and a refresh finds nothing", func(t *testing.T) {
		c.Must(c.Pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes"))
		c.Changes()
		assert.Empty(t, c.Steps())
		c.Must(c.Up())
		assert.Empty(t, c.Changes())
	})

	run("an Argo CD server with TLS redirects forever; each change of its parameters restarts it once", func(t *testing.T) {
		before := c.argoCDPods()
		c.Tools.Program = c.ProgramWith(kustomizationFile, c.Replace(`server.insecure: "true"`, `server.insecure: "false"`))
		c.Must(c.Up())
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			response, err := c.outside(t).Get(argoCDURL + "/")
			if err == nil {
				_ = response.Body.Close() // no response is expected
			}
			assert.ErrorContains(t, err, "stopped after 10 redirects")
		}, time.Minute, time.Second)
		changed := c.argoCDPods()
		c.restarted(t, before, changed)

		c.Tools.Program = c.ProgramWithAnotherComment("argocd.sh")
		c.Must(c.Up())
		c.awaitAnswers(t)
		back := c.argoCDPods()
		c.restarted(t, changed, back)
		assert.Equal(t, `["/usr/local/bin/argocd-server"]`,
			c.kubectl("--namespace=argocd", "get", "deployment", "argocd-server", "--output=jsonpath={.spec.template.spec.containers[0].args}{.spec.template.spec.containers[0].command}"))
		c.Changes()
		// The next step uses the program without the comment, so the script runs again.
	})

	run("a release follows its values; a failed upgrade is rolled back, and the next one succeeds", func(t *testing.T) {
		c.upgrades(t)
	})

	run("memory and CPU at rest are logged", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "docker", "stats", "--no-stream", "--format", "{{.Name}}  {{.MemUsage}}  {{.CPUPerc}}").Output()
		require.NoError(t, err)
		t.Logf("memory and CPU of the machines:\n%s", out)
	})

	run("after a destroy that failed, the stack can be brought up again", func(t *testing.T) {
		c.staysUp(t)
	})

	run("destroy, with all of it running, leaves nothing", func(t *testing.T) {
		_, err := c.try(readFile(t, "testdata/slow.yaml"), "apply", "--filename=-")
		require.NoError(t, err)
		c.kubectl("--namespace=default", "rollout", "status", "statefulset/slow", "--timeout=2m")
		started := time.Now()
		printed := c.Must(c.Destroy())
		t.Logf("destroy took %.1f s", time.Since(started).Seconds())
		at := 0
		for _, line := range []string{
			"stopping statefulset.apps/argocd-application-controller", "deleting pod default/slow-0",
			"scaling statefulset default/slow to nothing", "deleting ingress argocd/argocd",
			"deleting persistentvolumeclaim postgres/data-postgresql-0", "external-dns has deleted its records",
			"nothing that the cluster made in AWS is left",
		} {
			next := strings.Index(printed[at:], line)
			require.GreaterOrEqual(t, next, 0, "%q is missing, or comes too early, in\n%s", line, printed)
			at += next
		}
		assert.Empty(t, c.Inventory())
		c.nothingIsLeft()
	})
}

// object holds the fields that the tests use of objects of any kind.
type object struct {
	Metadata struct {
		Name, Namespace, UID string
		CreationTimestamp    time.Time
		DeletionTimestamp    *time.Time
		Labels, Annotations  map[string]string
	}
}

// get lists objects with `kubectl get` and the given arguments. It fails the test on an error.
func get[T any](c *cluster, args ...string) []T {
	c.t.Helper()
	list, err := list[T](c, args...)
	require.NoError(c.t, err)
	return list
}

// list is like get, but returns an error, so that the caller can retry.
func list[T any](c *cluster, args ...string) ([]T, error) {
	var list struct{ Items []T }
	out, err := c.try("", append(append([]string{"get"}, args...), "--output=json")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	return list.Items, err
}

// running holds the fields of a pod that say which images it runs, and where.
type running struct {
	object
	Spec struct {
		NodeName                   string
		InitContainers, Containers []struct{ Image string }
	}
}

// kubeadmImage matches the images that kubeadm pulls, which the mirror builds from Kubernetes' own modules.
var kubeadmImage = regexp.MustCompile(`^registry\.k8s\.io/(kube-[a-z-]+|etcd|coredns/coredns):`)

// knownImages checks that every running image is in supply.Images, which the README lists, and that every one of those runs.
func (c *cluster) knownImages(t *testing.T) {
	t.Helper()
	known, unused := map[string]bool{}, map[string]bool{}
	for _, image := range supply.Images() {
		known[image.Name] = true
		// The pod of a Helm hook is gone by now.
		unused[image.Name] = !strings.Contains(image.Name, "certgen")
	}
	for _, pod := range get[running](c, "pods", "--all-namespaces") {
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			assert.True(t, known[container.Image] || kubeadmImage.MatchString(container.Image), "%s of %s/%s is not in supply.Images",
				container.Image, pod.Metadata.Namespace, pod.Metadata.Name)
			unused[container.Image] = false
		}
	}
	for name, unused := range unused {
		assert.False(t, unused, "the mirror serves %s, but no pod runs it", name)
	}
}

// placed checks that the pods of each release run on the expected nodes.
func (c *cluster) placed(t *testing.T) {
	t.Helper()
	everywhere := slices.Sorted(maps.Keys(c.awaitReady(14, time.Minute)))
	daemons := []string{"ebs-csi-node", "prometheus-node-exporter"}
	nodes := map[string][]string{}
	for _, pod := range get[running](c, "pods", "--all-namespaces", "--field-selector=status.phase=Running") {
		name := pod.Metadata.Labels["app.kubernetes.io/instance"]
		if i := slices.IndexFunc(daemons, func(d string) bool { return strings.Contains(pod.Metadata.Name, d) }); i >= 0 {
			name = daemons[i]
		}
		if strings.HasPrefix(name, "kube-prometheus-stack") { // the operator derives instance names from its objects' names
			name = "kube-prometheus-stack"
		}
		if !slices.Contains(nodes[name], pod.Spec.NodeName) {
			nodes[name] = append(nodes[name], pod.Spec.NodeName)
		}
	}
	for release, status := range c.releases() {
		assert.Equal(t, "deployed", status.status, release)
		want := "k8s-master"
		if release == "kube-prometheus-stack" {
			want = "k8s-monitoring"
		}
		assert.Equal(t, []string{want}, nodes[release], release)
	}
	assert.Len(t, c.releases(), 8)
	for _, daemon := range daemons {
		assert.ElementsMatch(t, everywhere, nodes[daemon], daemon)
	}
}

// read sends a GET request and returns the answer.
func read(t require.TestingT, client *http.Client, url string) (status int, body string) {
	response, err := client.Get(url)
	if !assert.NoError(t, err) {
		return 0, ""
	}
	data, err := io.ReadAll(response.Body)
	assert.NoError(t, err)
	assert.NoError(t, response.Body.Close())
	return response.StatusCode, string(data)
}

// unredirected is a client that does not follow redirects.
var unredirected = &http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// argoCDURL is the output argocdUrl.
const argoCDURL = "https://argocd.eco2.example:8443"

// outside returns a client like an administrator's browser outside the VPC, which resolves the account's DNS records and
// trusts the rehearsal's certificate authority.
func (c *cluster) outside(t require.TestingT) *http.Client {
	return c.clientAt(t, netip.MustParseAddr(setup.OperatorAddress))
}

// clientAt returns such a client at another address.
func (c *cluster) clientAt(t require.TestingT, from netip.Addr) *http.Client {
	issuer, err := authority.Open()
	require.NoError(t, err)
	client, err := balancer.Client(aws.Open(c.Dir), issuer.PEM(), from)
	require.NoError(t, err)
	client.Timeout = 10 * time.Second
	return client
}

// unanswered checks that a request gets no response. message says what it means if there is one.
func unanswered(t *testing.T, client *http.Client, url string, message ...any) {
	t.Helper()
	response, err := client.Get(url)
	if err == nil {
		_ = response.Body.Close() // it is not expected
	}
	assert.Error(t, err, message...)
}

// awaitAnswers waits until Argo CD answers through the load balancer, without a redirect.
func (c *cluster) awaitAnswers(t *testing.T) {
	t.Helper()
	client := c.outside(t)
	client.CheckRedirect = unredirected.CheckRedirect
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		for path, words := range map[string]string{"/healthz": "ok", "/api/version": argocd.Version, "/": ""} {
			status, body := read(t, client, argoCDURL+path)
			assert.Equal(t, http.StatusOK, status, path)
			assert.Contains(t, body, words, path)
		}
	}, 2*time.Minute, time.Second)
}

// argoCDPods returns the UIDs of Argo CD's running pods, by component.
func (c *cluster) argoCDPods() map[string]string {
	c.t.Helper()
	pods := map[string]string{}
	for _, pod := range get[object](c, "pods", "--namespace=argocd", "--field-selector=status.phase=Running") {
		if pod.Metadata.DeletionTimestamp == nil { // a terminating pod is still in phase Running
			pods[pod.Metadata.Labels["app.kubernetes.io/name"]] = pod.Metadata.UID
		}
	}
	return pods
}

// restarted checks that exactly those components of Argo CD were restarted that read its parameters.
func (c *cluster) restarted(t *testing.T, before, after map[string]string) {
	t.Helper()
	var restarted []string
	for name, uid := range after {
		if before[name] != uid {
			restarted = append(restarted, name)
		}
	}
	assert.ElementsMatch(t, []string{"argocd-server", "argocd-application-controller", "argocd-applicationset-controller"}, restarted)
}

// oneBalancer checks that all Ingresses share one load balancer in AWS, and that an Ingress without the annotation of
// the security group gets none.
func (c *cluster) oneBalancer(t *testing.T) {
	t.Helper()
	account := aws.Open(c.Dir)
	groups, err := account.Groups()
	require.NoError(t, err)
	require.Len(t, groups, 1)
	balancers, err := account.LoadBalancers()
	require.NoError(t, err)
	require.Len(t, balancers, 1)
	assert.Equal(t, []string{groups[0].ID}, balancers[0].SecurityGroupIDs)
	assert.Len(t, balancers[0].SubnetIDs, 3)

	require.EventuallyWithT(t, func(t *assert.CollectT) {
		records, err := account.Records()
		assert.NoError(t, err)
		types := map[string]bool{}
		for _, r := range records {
			types[r.Type] = types[r.Type] || strings.HasSuffix(r.Name, "argocd.eco2.example")
		}
		assert.True(t, types["A"] && types["TXT"], "an alias, and external-dns' record of its ownership: %v", records)
	}, 2*time.Minute, time.Second)

	assert.Empty(t, c.denied(t), "the program allows all calls that the controllers make to EC2 and load balancing")
	_, err = c.try(strayIngress, "apply", "--filename=-")
	require.NoError(t, err)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		events, err := c.try("", "get", "events", "--namespace=auth", "--field-selector=involvedObject.name=stray", "--output=jsonpath={.items[*].message}")
		assert.NoError(t, err)
		assert.Contains(t, events, "not authorized to perform: ec2:CreateSecurityGroup")
	}, time.Minute, time.Second)
	groups, err = account.Groups()
	require.NoError(t, err)
	assert.Len(t, groups, 1)
	c.kubectl("--namespace=auth", "delete", "ingress", "stray", "--timeout=60s")
}

// balancing matches denied calls to the services that the load balancer controller uses.
var balancing = regexp.MustCompile(`is not authorized to perform: (acm|ec2|elasticloadbalancing|iam):`)

// denied returns the lines of AWS's log about calls of the load balancer controller that were not authorized.
func (c *cluster) denied(t *testing.T) (lines []string) {
	t.Helper()
	filters := []string{"--filter=label=" + docker.Label + "=" + c.Dir, "--filter=label=" + docker.Label + ".name=services"}
	ids, err := exec.CommandContext(t.Context(), "docker", append([]string{"ps", "--all", "--quiet"}, filters...)...).Output()
	require.NoError(t, err)
	require.NotEmpty(t, strings.Fields(string(ids)), "the services' container")
	for _, id := range strings.Fields(string(ids)) {
		log, err := exec.CommandContext(t.Context(), "docker", "logs", id).CombinedOutput()
		require.NoError(t, err)
		for line := range strings.Lines(string(log)) {
			if balancing.MatchString(line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// strayIngress is an Ingress whose author forgot the annotation of the security group.
const strayIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: stray, namespace: auth, annotations: {alb.ingress.kubernetes.io/scheme: internet-facing}}
spec:
  ingressClassName: alb
  rules:
  - host: stray.eco2.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}]}
`
