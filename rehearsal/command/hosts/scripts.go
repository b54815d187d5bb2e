package hosts

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"eco2/rehearsal/fault"
	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/kubernetes/model"
)

// shell is one script that runs on one machine.
type shell struct {
	*Simulated
	invocation
	machine  Machine
	state    state
	out, err io.Writer
}

// effects are what the scripts achieve.
var effects = map[string]func(*shell, context.Context) error{
	"prepare":    (*shell).prepare,
	"install":    (*shell).install,
	"init":       (*shell).init,
	"join":       (*shell).join,
	"kubeconfig": (*shell).kubeconfig,
	"calico":     (*shell).calico,
	"ready":      (*shell).ready,
	"argocd":     (*shell).argocd,
	"crds":       (*shell).crds,
	"admission":  (*shell).admission,
	"secret":     (*shell).secret,
	"leave":      (*shell).leave,
	"sweep":      (*shell).execute,
	"records":    (*shell).execute,
}

// relay looks another up, so the map cannot be made with it.
func init() { effects["relay"] = (*shell).relay }

func (s *shell) run(ctx context.Context) error { return effects[s.script](s, ctx) }

// say writes a line of the script's output, marked as what it is.
func (s *shell) say(format string, args ...any) error { return s.sayTo(s.out, format, args...) }

func (s *shell) sayTo(w io.Writer, format string, args ...any) error {
	name := s.state.Node
	if name == "" {
		name = s.machine.Name
	}
	_, err := fmt.Fprintf(w, "[simulated host %s] %s\n", name, fmt.Sprintf(format, args...))
	return err
}

// cluster is the cluster whose control plane this machine is.
func (s *shell) cluster() (*model.Cluster, error) {
	if !s.state.ControlPlane {
		return nil, die("there is no /etc/kubernetes/admin.conf on %s; the control plane has to be made first", s.machine.Name)
	}
	return s.clusters.Cluster(s.state.Cluster), nil
}

// become changes the machine that the script runs on.
func (s *shell) become(to func(*state)) (err error) {
	s.state, err = s.change(s.machine.ID, to)
	return err
}

func (s *shell) install(context.Context) error {
	starts := fileLine.FindAllStringSubmatchIndex(s.data, -1)
	scripts := map[string]string{}
	for i, at := range starts {
		end := len(s.data)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		scripts[s.data[at[2]:at[3]]] = s.data[at[1]:end]
	}
	library, whole := scripts["lib"]
	if !whole || len(scripts) == 1 {
		return die("install.sh was given no scripts, or no library")
	}
	delete(scripts, "lib")
	for name, text := range scripts {
		scripts[name] = library + text
	}
	if err := s.become(func(st *state) { st.Scripts = scripts }); err != nil {
		return err
	}
	return s.say("%d scripts are in /usr/local/lib/eco2", len(scripts))
}

// relay runs an installed script on a worker, which has to let the control plane in.
func (s *shell) relay(ctx context.Context) error {
	worker, err := s.worker()
	if err != nil {
		return err
	}
	there := invocation{script: s.flags["script"], args: s.args, flags: map[string]string{}, text: s.state.Scripts[s.flags["script"]]}
	if there.text == "" || effects[there.script] == nil {
		return die("/usr/local/lib/eco2/%s.sh: No such file or directory", there.script)
	}
	if err := there.readFlags(); err != nil {
		return err
	}
	st, err := s.Simulated.state(worker.ID)
	if err != nil {
		return err
	}
	other := *s
	other.machine, other.state, other.invocation = worker, st, there
	return other.run(ctx)
}

func (s *shell) prepare(context.Context) error {
	running, asked := s.state.Versions["kubernetes-version"], s.flags["kubernetes-version"]
	if s.state.Cluster != "" && running != asked {
		return die("%s runs Kubernetes %s and %s was asked for; a running node is upgraded with 'kubeadm upgrade', see docs/operations.md", s.flags["node"], running, asked)
	}
	err := s.become(func(st *state) {
		st.Node, st.Versions = s.flags["node"], map[string]string{}
		for name, value := range s.flags {
			if strings.HasSuffix(name, "-version") {
				st.Versions[name] = value
			}
		}
	})
	if err != nil {
		return err
	}
	return s.say("prepared with Kubernetes %s and containerd %s", asked, s.state.Versions["containerd-version"])
}

func (s *shell) init(context.Context) error {
	if s.state.Node == "" {
		return die("kubeadm: command not found; prepare.sh has to run on %s first", s.machine.Name)
	}
	if s.state.Cluster != "" && !s.state.ControlPlane {
		return die("%s is a worker of another cluster", s.state.Node)
	}
	configuration, err := readConfiguration(s.data)
	if err != nil {
		return err
	}
	providerID := configuration.nodeArgument("provider-id")
	if providerID != s.machine.providerID() {
		return die("the kubeadm configuration says provider-id %q, and this machine is %s", providerID, s.machine.providerID())
	}
	if address := configuration.LocalAPIEndpoint.AdvertiseAddress; address != s.machine.PrivateIP {
		return die("the kubeadm configuration advertises %q, which is no address of this machine (%s)", address, s.machine.PrivateIP)
	}
	if address := s.flags["address"]; address != s.machine.PrivateIP || s.flags["provider-id"] != providerID {
		return die("--address is %s and --provider-id %s, and this machine is %s, %s", address, s.flags["provider-id"], s.machine.PrivateIP, providerID)
	}
	verb := "was made before; reconciled its labels and taints"
	if s.state.Cluster == "" {
		cluster, err := s.clusters.New(strings.TrimPrefix(configuration.KubernetesVersion, "v"))
		if err != nil {
			return err
		}
		if err := s.become(func(st *state) { st.Cluster, st.ControlPlane = cluster.ID(), true }); err != nil {
			return err
		}
		verb = "is up"
	}
	node := s.node(s.flags["node"], s.machine, s.state)
	node.ControlPlane = true
	node.Taints = append([]string{"node-role.kubernetes.io/control-plane:NoSchedule"}, node.Taints...)
	if err := s.clusters.Cluster(s.state.Cluster).Register(node); err != nil {
		return err
	}
	if err := s.record(s.machine, true); err != nil {
		return err
	}
	return s.say("the control plane %s %s", s.flags["node"], verb)
}

// record keeps which machine the script's node is.
func (s *shell) record(machine Machine, joined bool) error {
	return s.become(func(st *state) {
		if st.Recorded == nil {
			st.Recorded = map[string]recorded{}
		}
		st.Recorded[s.flags["node"]] = recorded{machine.PrivateIP, machine.providerID(), joined}
	})
}

// node is a machine as a member of the cluster, with the labels and taints of this script's flags.
func (s *shell) node(name string, machine Machine, st state) model.Node {
	labels := map[string]string{}
	for _, pair := range list(s.flags["labels"]) {
		key, value, _ := strings.Cut(pair, "=")
		labels[key] = value
	}
	return model.Node{
		Name: name, ProviderID: machine.providerID(), Address: machine.PrivateIP,
		Version: st.Versions["kubernetes-version"], Labels: labels, Taints: list(s.flags["taints"]),
	}
}

// list splits a,b,c; nothing is an empty list.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// configuration is what matters here of kubeadm's InitConfiguration and ClusterConfiguration.
type configuration struct {
	Kind             string
	LocalAPIEndpoint struct {
		AdvertiseAddress string `yaml:"advertiseAddress"`
	} `yaml:"localAPIEndpoint"`
	NodeRegistration struct {
		KubeletExtraArgs []struct{ Name, Value string } `yaml:"kubeletExtraArgs"`
	} `yaml:"nodeRegistration"`
	KubernetesVersion string `yaml:"kubernetesVersion"`
}

func (c configuration) nodeArgument(name string) string {
	for _, arg := range c.NodeRegistration.KubeletExtraArgs {
		if arg.Name == name {
			return arg.Value
		}
	}
	return ""
}

// readConfiguration reads all documents into one, since their fields differ.
func readConfiguration(data string) (all configuration, err error) {
	if strings.TrimSpace(data) == "" {
		return all, die("no kubeadm configuration on standard input")
	}
	decoder := yaml.NewDecoder(strings.NewReader(data))
	for {
		err := decoder.Decode(&all)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return all, die("validating the kubeadm configuration failed: it is no YAML")
		}
	}
	if all.KubernetesVersion == "" {
		return all, die("validating the kubeadm configuration failed: it names no kubernetesVersion")
	}
	return all, nil
}

func (s *shell) join(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	node := s.flags["node"]
	worker, err := s.worker()
	if err != nil {
		return err
	}
	if endpoint := s.flags["endpoint"]; endpoint != fmt.Sprintf("%s:%d", s.machine.PrivateIP, apiPort) {
		return die("%s could not join and was reset: no API server answers at %s", node, endpoint)
	}
	if admitted, err := s.machines.Admits(s.machine, apiPort, worker.PrivateIP); err != nil || !admitted {
		return orElse(err, die("%s could not join and was reset: dial tcp %s:%d: i/o timeout", node, s.machine.PrivateIP, apiPort))
	}
	st, err := s.Simulated.state(worker.ID)
	if err != nil {
		return err
	}
	if st.Node == "" {
		return die("%s could not join: kubeadm: command not found; prepare.sh has to run on it first", node)
	}
	_, expired, err := fault.Trigger(s.stateDir, fault.TokenExpired, fault.Call{Name: s.work()})
	if err != nil {
		return err
	}
	if expired {
		return die("couldn't validate the identity of the API Server: could not find a JWS signature in the cluster-info ConfigMap\nerror: %s could not join and was reset; the lines above, from kubeadm and its kubelet, say why", node)
	}
	members, err := cluster.Nodes()
	if err != nil {
		return err
	}
	verb, joined := "has joined", true
	if st.Cluster == cluster.ID() && slices.ContainsFunc(members, func(n model.Node) bool { return n.Name == node && n.ProviderID == worker.providerID() }) {
		verb = "is in the cluster already; reconciled its labels and taints"
		joined = s.state.Recorded[node].Joined
	}
	if err := s.record(worker, joined); err != nil {
		return err
	}
	if st, err = s.change(worker.ID, func(st *state) { st.Cluster = cluster.ID() }); err != nil {
		return err
	}
	if err := cluster.Register(s.node(node, worker, st)); err != nil {
		return err
	}
	return s.say("%s %s", node, verb)
}

// worker is the machine that the script's flags mean, reached with the key on its standard input.
func (s *shell) worker() (Machine, error) {
	key, err := ssh.ParsePrivateKey([]byte(strings.TrimLeft(s.data, "\n")))
	if err != nil {
		return Machine{}, die("standard input holds no private SSH key that works without a passphrase")
	}
	address := s.flags["address"]
	worker, err := s.reachWorker(address, key)
	if err != nil {
		return Machine{}, err
	}
	if id := s.flags["provider-id"]; id != worker.providerID() {
		return Machine{}, die("--provider-id is %s, and the machine at %s is %s", id, address, worker.providerID())
	}
	return worker, nil
}

// reachLimits is how long the scripts that reach a worker try it.
var reachLimits = map[string]time.Duration{"relay": 3 * time.Minute, "join": 2 * time.Minute}

// reachWorker finds the machine at a private address that lets this script in over SSH.
func (s *shell) reachWorker(address string, key ssh.Signer) (Machine, error) {
	node, user := s.flags["node"], s.flags["user"]
	refused := func(why string) error {
		return die("%s does not let %s in over SSH at %s: %s", node, user, address, why)
	}
	worker, found, err := s.machines.ByPrivateIP(s.machine.Network, address)
	if err != nil {
		return Machine{}, err
	}
	if found && worker.Running {
		met, hit, err := fault.Trigger(s.stateDir, fault.Refused, fault.Call{Name: worker.Name})
		if err != nil {
			return Machine{}, err
		}
		if hit && time.Duration(met.Seconds*float64(time.Second)) > reachLimits[s.script] {
			return Machine{}, refused(fmt.Sprintf("ssh: connect to host %s port %d: Connection refused", address, sshPort))
		}
		if found, err = s.machines.Admits(worker, sshPort, s.machine.PrivateIP); err != nil {
			return Machine{}, err
		}
	}
	switch {
	case !found || !worker.Running:
		return Machine{}, refused(fmt.Sprintf("ssh: connect to host %s port %d: Connection timed out", address, sshPort))
	case !s.lets(worker, user, key):
		return Machine{}, refused(fmt.Sprintf("%s@%s: Permission denied (publickey).", user, address))
	}
	known, err := s.knows(node, worker)
	if err == nil && !known {
		err = refused("Host key verification failed.")
	}
	return worker, err
}

// knows compares the worker's host key with the one of earlier runs, if the machine is the same as then.
func (s *shell) knows(node string, worker Machine) (bool, error) {
	other, err := s.Simulated.state(worker.ID)
	if err != nil {
		return false, err
	}
	seen, again := s.state.KnownHosts[node]
	if again && seen.ProviderID == worker.providerID() {
		return seen.HostKey == other.HostKey, nil
	}
	_, err = s.change(s.machine.ID, func(st *state) {
		if st.KnownHosts == nil {
			st.KnownHosts = map[string]knownHost{}
		}
		st.KnownHosts[node] = knownHost{worker.providerID(), other.HostKey}
	})
	return true, err
}

// kubeconfig keeps its output to the sealed file alone: the program opens it.
func (s *shell) kubeconfig(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if err := s.sayTo(s.err, "a kubeconfig with simulated certificates"); err != nil {
		return err
	}
	if s.data == "" {
		return die("Error reading password from BIO")
	}
	sealed, err := seal(kubeconfig(cluster.ID(), s.flags["server"]), s.data)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, sealed)
	return err
}

func (s *shell) calico(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if !strings.Contains(s.data, "calico.yaml") {
		return die("the kustomization on standard input has no resource calico.yaml")
	}
	if err := s.checkDownload(s.flags["manifest-url"], s.flags["manifest-sha256"]); err != nil {
		return err
	}
	if err := cluster.InstallBundle("calico"); err != nil {
		return err
	}
	return s.say("Calico is installed from %s", s.flags["manifest-url"])
}

// checkDownload refuses what no pinned download looks like; nothing is downloaded.
func (s *shell) checkDownload(url, sum string) error {
	if !strings.HasPrefix(url, "https://") {
		return die("cannot download %s; check that this machine reaches it", url)
	}
	_, other, err := fault.Trigger(s.stateDir, fault.OtherContent, fault.Call{Name: s.work()})
	if err != nil {
		return err
	}
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 || other {
		return die("%s has another checksum than the pinned %s; if the new content is wanted, pin its checksum with the version", url, sum)
	}
	return nil
}

func (s *shell) ready(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	members, err := cluster.Nodes()
	if err != nil {
		return err
	}
	ready := map[string]bool{}
	for _, n := range members {
		ready[n.Name] = n.Ready
	}
	wanted := list(s.flags["nodes"])
	var missing []string
	for _, name := range wanted {
		if !ready[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return die("after %ss the cluster still waits for %s; a node has to join, and Calico has to be installed", s.flags["timeout"], strings.Join(missing, ", "))
	}
	for _, n := range members {
		if !slices.Contains(wanted, n.Name) {
			if err := s.say("note: %s is in the cluster and not in the table of nodes", n.Name); err != nil {
				return err
			}
		}
	}
	return s.say("all %d nodes are ready", len(wanted))
}

func (s *shell) argocd(ctx context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if !strings.Contains(s.data, "install.yaml") {
		return die("the kustomization on standard input has no resource install.yaml")
	}
	if err := s.checkDownload(s.flags["manifest-url"], s.flags["manifest-sha256"]); err != nil {
		return err
	}
	info, err := cluster.Info()
	if err != nil {
		return err
	}
	if !slices.Contains(info.Bundles, "calico") {
		return die("deployment.apps/argocd-server does not come up: no node is Ready, because Calico is not installed; see 'kubectl -n argocd describe pods' for the reason")
	}
	if err := cluster.InstallBundle("argocd"); err != nil {
		return err
	}
	// What the rest of the program refers to, by the name of the script's field manager.
	kustomization := struct {
		Replicas []struct {
			Name  string
			Count int
		}
	}{}
	if err := yaml.Unmarshal([]byte(s.data), &kustomization); err != nil {
		return die("the kustomization on standard input is no YAML")
	}
	for _, manifest := range argocdObjects() {
		for _, r := range kustomization.Replicas {
			if r.Name == manifest.Ref().Name {
				manifest["spec"] = map[string]any{"replicas": float64(r.Count)}
			}
		}
		if _, err := cluster.Apply(ctx, manifest, kubernetes.ApplyOptions{Manager: "eco2", Force: true}); err != nil {
			return die("applying Argo CD failed: %v", err)
		}
	}
	return s.say("Argo CD is up, from %s", s.flags["manifest-url"])
}

func argocdObjects() []kubernetes.Manifest {
	return []kubernetes.Manifest{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "argocd"}},
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "argocd-cmd-params-cm", "namespace": "argocd"},
			"data": map[string]any{"server.insecure": "true"}},
		{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "argocd-server", "namespace": "argocd"},
			"spec": map[string]any{"type": "ClusterIP", "selector": map[string]any{"app.kubernetes.io/name": "argocd-server"}}},
		// Who brings back what is in Git.
		{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": map[string]any{"name": "argocd-application-controller", "namespace": "argocd"},
			"spec": map[string]any{"replicas": float64(1)}},
		// Upstream leaves its number to the API server's default, which an apply does not set again.
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "argocd-applicationset-controller", "namespace": "argocd"},
			"spec": map[string]any{}},
		{"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": map[string]any{"name": "default", "namespace": "argocd"},
			"spec": map[string]any{"sourceRepos": []any{}, "destinations": []any{}, "clusterResourceWhitelist": []any{}}},
	}
}

func (s *shell) crds(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if len(s.args) == 0 {
		return die("a name for the bundle")
	}
	name, downloads := s.args[0], s.args[1:]
	if len(downloads) >= 2 && downloads[0] == "--files-mirror" {
		downloads = downloads[2:]
	}
	if len(downloads) == 0 || len(downloads)%2 != 0 {
		return die("the custom resources of %s need a checksum for each URL", name)
	}
	for i := 0; i < len(downloads); i += 2 {
		if err := s.checkDownload(downloads[i], downloads[i+1]); err != nil {
			return err
		}
	}
	if _, known := kubernetes.Bundles[name]; !known {
		return die("the simulated host does not know what custom resources %q stands for", name)
	}
	if err := cluster.InstallBundle(name); err != nil {
		return err
	}
	return s.say("custom resources of %s applied from %d files", name, len(downloads)/2)
}

// admission knows what is judged: an object of a release that is there.
func (s *shell) admission(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if len(s.args) != 1 || s.data == "" {
		return die("a name for the webhook, and on standard input an object")
	}
	releases, err := cluster.Releases()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(releases, func(r kubernetes.Release) bool { return r.Name == s.args[0] }) {
		return die("the webhook of %s does not admit what the program is about to make: there is no such release", s.args[0])
	}
	return s.say("the webhook of %s answers", s.args[0])
}

// secret knows that a Secret follows its ExternalSecret; nothing copies one here.
func (s *shell) secret(ctx context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	name, version := s.flags["namespace"]+"/"+s.flags["name"], s.flags["version"]
	at, err := cluster.Get(ctx, kubernetes.Ref{
		APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: s.flags["namespace"], Name: s.flags["name"],
	})
	if err != nil && !errors.Is(err, kubernetes.ErrNotFound) {
		return err
	}
	for _, key := range []string{"spec", "target", "template", "metadata", "annotations"} {
		at, _ = at[key].(map[string]any)
	}
	if at["eco2.io/parameter-version"] != version {
		return die("secret %s does not get version %s of its parameter; the ExternalSecret's conditions and events above say why", name, version)
	}
	return s.say("secret %s is up to date", name)
}

func (s *shell) leave(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	name, leaving := s.flags["node"], s.flags["provider-id"]
	members, err := cluster.Nodes()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(members, func(n model.Node) bool { return n.Name == name })
	if at < 0 {
		if err := s.forget(leaving); err != nil {
			return err
		}
		return s.say("%s is not in the cluster", name)
	}
	machine := members[at].ProviderID
	successor := machine != leaving
	if leaving == "" { // written by a program that recorded no joins
		successor = s.state.Recorded[name].Joined && s.state.Recorded[name].ProviderID == machine
	}
	if successor {
		return s.say("%s stays in the cluster: it is the machine %s now", name, machine)
	}
	if _, err := cluster.RemoveNode(name); err != nil {
		return err
	}
	if err := s.forget(machine); err != nil {
		return err
	}
	return s.say("%s has left the cluster", name)
}

// forget takes away what is recorded of the script's node, if it is that machine.
func (s *shell) forget(providerID string) error {
	return s.become(func(st *state) {
		if st.Recorded[s.flags["node"]].ProviderID == providerID {
			delete(st.Recorded, s.flags["node"])
		}
	})
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
