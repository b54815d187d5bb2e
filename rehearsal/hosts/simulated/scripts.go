package simulated

import (
	"cmp"
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

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/fault"
)

// shell is a run of a script on a machine.
type shell struct {
	*Hosts
	invocation
	machine  Machine
	state    state
	out, err io.Writer
}

// effects maps each script to the function that simulates or executes it.
var effects = map[string]func(*shell, context.Context) error{
	"prepare":    (*shell).prepare,
	"install":    (*shell).install,
	"state":      func(s *shell, _ context.Context) error { return s.putState() },
	"init":       (*shell).init,
	"join":       (*shell).join,
	"kubeconfig": (*shell).kubeconfig,
	"calico":     (*shell).calico,
	"ready":      (*shell).ready,
	"argocd":     (*shell).argocd,
	"crds":       (*shell).crds,
	"admission":  (*shell).admission,
	"accounts":   (*shell).accounts,
	"secret":     (*shell).secret,
	"leave":      (*shell).leave,

	"upgrade-nodes": (*shell).upgradeNodes,
	"sweep":         (*shell).execute,
	"records":       (*shell).execute,
}

// relay refers to the map, so it cannot be in the map's initialiser.
func init() { effects["relay"] = (*shell).relay }

func (s *shell) run(ctx context.Context) error { return effects[s.script](s, ctx) }

// say writes a line to the script's standard output, with a prefix that marks it as simulated.
func (s *shell) say(format string, args ...any) error { return s.sayTo(s.out, format, args...) }

func (s *shell) sayTo(w io.Writer, format string, args ...any) error {
	name := s.state.Node
	if name == "" {
		name = s.machine.Name
	}
	_, err := fmt.Fprintf(w, "[simulated host %s] %s\n", name, fmt.Sprintf(format, args...))
	return err
}

// cluster returns the cluster whose control plane is this machine.
func (s *shell) cluster() (*model.Cluster, error) {
	if !s.state.ControlPlane {
		return nil, die("there is no /etc/kubernetes/admin.conf on %s; the control plane must be created first", s.machine.Name)
	}
	return s.clusters.Cluster(s.state.Cluster), nil
}

// update changes the state of the machine on which the script runs.
func (s *shell) update(to func(*state)) (err error) {
	s.state, err = s.change(s.machine.ID, to)
	return err
}

// splitFiles returns the files on a script's standard input by name, as split_files in lib.sh does.
func splitFiles(data string) map[string]string {
	starts := fileLine.FindAllStringSubmatchIndex(data, -1)
	files := map[string]string{}
	for i, at := range starts {
		end := len(data)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		files[data[at[2]:at[3]]] = data[at[1]:end]
	}
	return files
}

func (s *shell) install(context.Context) error {
	scripts := map[string]string{}
	for name, text := range splitFiles(s.data) {
		scripts[strings.TrimSuffix(name, ".sh")] = text
	}
	library, whole := scripts["lib"]
	if !whole || len(scripts) == 1 {
		return die("standard input of install.sh contains no scripts, or no library")
	}
	delete(scripts, "lib")
	for name, text := range scripts {
		scripts[name] = library + text
	}
	if err := s.update(func(st *state) { st.Scripts = scripts }); err != nil {
		return err
	}
	return s.say("%d scripts are in /usr/local/lib/eco2", len(scripts))
}

// relay runs an installed script on a worker, which must accept the control plane's connection.
func (s *shell) relay(ctx context.Context) error {
	worker, err := s.worker()
	if err != nil {
		return err
	}
	relayed := invocation{script: s.flags["script"], args: s.args, flags: map[string]string{}, text: s.state.Scripts[s.flags["script"]]}
	if relayed.text == "" || effects[relayed.script] == nil {
		return die("/usr/local/lib/eco2/%s.sh: No such file or directory", relayed.script)
	}
	if err := relayed.readFlags(); err != nil {
		return err
	}
	st, err := s.Hosts.state(worker.ID)
	if err != nil {
		return err
	}
	other := *s
	other.machine, other.state, other.invocation = worker, st, relayed
	return other.run(ctx)
}

func (s *shell) prepare(context.Context) error {
	if s.state.Cluster != "" && s.state.older(s.flags) {
		return s.say("has joined the cluster; downloaded Kubernetes %s and containerd %s", s.flags["kubernetes-version"], s.flags["containerd-version"])
	}
	if err := s.update(func(st *state) { st.Node = s.flags["node"]; st.install(s.flags) }); err != nil {
		return err
	}
	return s.say("prepared with Kubernetes %s and containerd %s", s.state.Versions["kubernetes-version"], s.state.Versions["containerd-version"])
}

func (s *shell) init(context.Context) error {
	if s.state.Node == "" {
		return die("kubeadm: command not found; prepare.sh must run on %s first", s.machine.Name)
	}
	if s.state.Cluster != "" && !s.state.ControlPlane {
		return die("%s is a worker of another cluster", s.state.Node)
	}
	files := splitFiles(s.data)
	configuration, err := readConfiguration(files["kubeadm.yaml"])
	if err != nil {
		return err
	}
	for _, name := range []string{"admission.yaml", "audit.yaml", "authentication.yaml", "nodes.yaml"} {
		if files[name] == "" {
			return die("%s is not on standard input of init.sh", name)
		}
	}
	providerID := configuration.nodeArgument("provider-id")
	if providerID != s.machine.providerID() {
		return die("the kubeadm configuration sets provider-id %q, but this machine is %s", providerID, s.machine.providerID())
	}
	if address := configuration.LocalAPIEndpoint.AdvertiseAddress; address != s.machine.PrivateIP {
		return die("the kubeadm configuration advertises %q, which is not the address of this machine (%s)", address, s.machine.PrivateIP)
	}
	if address := s.flags["address"]; address != s.machine.PrivateIP || s.flags["provider-id"] != providerID {
		return die("--address is %s and --provider-id %s, but this machine is %s, %s", address, s.flags["provider-id"], s.machine.PrivateIP, providerID)
	}
	if s.state.Volume == "" {
		return die("the state of the cluster is on no volume; state.sh must run on %s first", s.machine.Name)
	}
	verb := "was created before; reconciled its labels and taints"
	adopted := false
	if s.state.Cluster == "" {
		if adopted, err = s.adopt(); err != nil {
			return err
		}
		if adopted {
			verb = "was on the volume, and is up on this machine"
		}
	}
	if s.state.Cluster == "" {
		cluster, err := s.clusters.New(configuration.version())
		if err != nil {
			return err
		}
		if err := s.update(func(st *state) { st.Cluster, st.ControlPlane = cluster.ID(), true }); err != nil {
			return err
		}
		verb = "is up"
	}
	if err := s.upgradeControlPlane(configuration.version()); err != nil {
		return err
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
	_, err = s.contents(s.state.Volume, func(on *contents) { on.Cluster, on.Address = s.state.Cluster, s.machine.PrivateIP })
	if err != nil {
		return err
	}
	return s.say("the control plane %s %s", s.flags["node"], verb)
}

// record stores the machine of the script's node.
func (s *shell) record(machine Machine, joined bool) error {
	one := recorded{machine.PrivateIP, machine.providerID(), joined}
	err := s.update(func(st *state) {
		if st.Recorded == nil {
			st.Recorded = map[string]recorded{}
		}
		st.Recorded[s.flags["node"]] = one
	})
	if err != nil || s.state.Volume == "" {
		return err
	}
	_, err = s.contents(s.state.Volume, func(on *contents) {
		if on.Recorded == nil {
			on.Recorded = map[string]recorded{}
		}
		on.Recorded[s.flags["node"]] = one
	})
	return err
}

// node returns a machine as a node of the cluster, with the labels and taints in the script's flags.
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

// list splits a,b,c. An empty text is an empty list.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

// configuration holds the fields of kubeadm's InitConfiguration and ClusterConfiguration that matter to the simulation.
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

// version returns the version of Kubernetes without "v".
func (c configuration) version() string { return strings.TrimPrefix(c.KubernetesVersion, "v") }

func (c configuration) nodeArgument(name string) string {
	for _, arg := range c.NodeRegistration.KubeletExtraArgs {
		if arg.Name == name {
			return arg.Value
		}
	}
	return ""
}

// readConfiguration reads all documents into one struct, since they have different fields.
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
			return all, die("validating the kubeadm configuration failed: it is not YAML")
		}
	}
	if all.KubernetesVersion == "" {
		return all, die("validating the kubeadm configuration failed: it does not set kubernetesVersion")
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
	if allowed, err := s.machines.Allows(s.machine, apiPort, worker.PrivateIP); err != nil || !allowed {
		return cmp.Or(err, die("%s could not join and was reset: dial tcp %s:%d: i/o timeout", node, s.machine.PrivateIP, apiPort))
	}
	st, err := s.Hosts.state(worker.ID)
	if err != nil {
		return err
	}
	if st.Node == "" {
		return die("%s could not join: kubeadm: command not found; prepare.sh must run on it first", node)
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

// worker returns the machine that the script's flags specify, after logging in with the key on its standard input.
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
		return Machine{}, die("--provider-id is %s, but the machine at %s is %s", id, address, worker.providerID())
	}
	return worker, nil
}

// reachLimits maps the scripts that connect to a worker to how long they try.
var reachLimits = map[string]time.Duration{"relay": 3 * time.Minute, "join": 2 * time.Minute, "upgrade-nodes": 10 * time.Second}

// reachWorker returns the machine at a private address if the script can log in to it over SSH.
func (s *shell) reachWorker(address string, key ssh.Signer) (Machine, error) {
	node, user := s.flags["node"], s.flags["user"]
	refused := func(why string) error {
		return die("cannot log in to %s as %s over SSH at %s: %s", node, user, address, why)
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
		if found, err = s.machines.Allows(worker, sshPort, s.machine.PrivateIP); err != nil {
			return Machine{}, err
		}
	}
	switch {
	case !found || !worker.Running:
		return Machine{}, refused(fmt.Sprintf("ssh: connect to host %s port %d: Connection timed out", address, sshPort))
	case !s.acceptsKey(worker, user, key):
		return Machine{}, refused(fmt.Sprintf("%s@%s: Permission denied (publickey).", user, address))
	}
	trusted, err := s.trusts(node, worker)
	if err == nil && !trusted {
		err = refused("the machine that answers there has another SSH host key, so nothing was sent to it; " +
			`see docs/operations.md, "A machine with another host key"`)
	}
	return worker, err
}

// trusts reports whether the worker has the right host key: the one that the script was given or, without one, that of
// earlier runs. In that case a machine that was not reached before is accepted, and its key stored.
func (s *shell) trusts(node string, worker Machine) (bool, error) {
	actual, err := s.hostKey(worker)
	if err != nil {
		return false, err
	}
	if given := s.flags["host-key"]; given != "" {
		return given == strings.TrimSpace(actual), nil
	}
	seen, again := s.state.KnownHosts[node]
	if again && seen.ProviderID == worker.providerID() {
		return seen.HostKey == actual, nil
	}
	_, err = s.change(s.machine.ID, func(st *state) {
		if st.KnownHosts == nil {
			st.KnownHosts = map[string]knownHost{}
		}
		st.KnownHosts[node] = knownHost{worker.providerID(), actual}
	})
	return true, err
}

// renew renews the certificates of the cluster if they expire before the date in --valid-until, and returns when they
// expire.
func (s *shell) renew(cluster *model.Cluster) (time.Time, error) {
	info, err := cluster.Info()
	if err != nil || s.flags["valid-until"] == "" {
		return info.CertificatesExpire, err
	}
	until, err := time.Parse(time.DateOnly, s.flags["valid-until"])
	if err != nil {
		return time.Time{}, die("--valid-until is %s, which is no date", s.flags["valid-until"])
	}
	if !info.CertificatesExpire.Before(until) {
		return info.CertificatesExpire, nil
	}
	expires := model.YearFromNow()
	return expires, errors.Join(s.sayTo(s.err, "the control plane's certificates are renewed"), cluster.SetCertificatesExpire(expires))
}

// kubeconfig prints only the encrypted kubeconfig to standard output, because the program decrypts it.
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
	expires, err := s.renew(cluster)
	if err != nil {
		return err
	}
	encrypted, err := encrypt(kubeconfig(cluster.ID(), s.flags["server"], expires), s.data)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, encrypted)
	return err
}

func (s *shell) calico(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	files := splitFiles(s.data)
	if !strings.Contains(files["kustomization.yaml"], "calico.yaml") || files["metadata-service.yaml"] == "" {
		return die("standard input has no kustomization with the resource calico.yaml, or no policy for the metadata service")
	}
	if err := s.checkDownload(s.flags["manifest-url"], s.flags["manifest-sha256"]); err != nil {
		return err
	}
	if err := cluster.InstallBundle("calico"); err != nil {
		return err
	}
	return s.say("Calico is installed from %s", s.flags["manifest-url"])
}

// checkDownload fails for a URL or checksum that cannot be of a pinned download. It downloads nothing.
func (s *shell) checkDownload(url, sum string) error {
	if !strings.HasPrefix(url, "https://") {
		return die("cannot download %s; check that this machine reaches it", url)
	}
	_, other, err := fault.Trigger(s.stateDir, fault.OtherContent, fault.Call{Name: s.work()})
	if err != nil {
		return err
	}
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 || other {
		return die("%s does not have the pinned checksum %s; if the new content is intended, pin its checksum with the version", url, sum)
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
	expected := list(s.flags["nodes"])
	var missing []string
	for _, name := range expected {
		if !ready[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return die("after %ss the cluster still waits for %s; every node must join, and Calico must be installed", s.flags["timeout"], strings.Join(missing, ", "))
	}
	for _, n := range members {
		if !slices.Contains(expected, n.Name) {
			if err := s.say("note: %s is in the cluster and not in the table of nodes", n.Name); err != nil {
				return err
			}
		}
	}
	return s.say("all %d nodes are ready", len(expected))
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
	// Only the objects that the rest of the program refers to are applied, with the script's field manager.
	kustomization := struct {
		Replicas []struct {
			Name  string
			Count int
		}
	}{}
	if err := yaml.Unmarshal([]byte(s.data), &kustomization); err != nil {
		return die("the kustomization on standard input is not YAML")
	}
	for _, manifest := range argocdObjects() {
		for _, r := range kustomization.Replicas {
			if r.Name == manifest.Ref().Name {
				manifest["spec"] = map[string]any{"replicas": float64(r.Count)}
			}
		}
		if _, err := cluster.Apply(ctx, manifest, provider.ApplyOptions{Manager: "eco2", Force: true}); err != nil {
			return die("applying Argo CD failed: %v", err)
		}
	}
	return s.say("Argo CD is up, from %s", s.flags["manifest-url"])
}

// argocdObjects returns the objects of Argo CD's manifest to which the program or a script refers.
func argocdObjects() []provider.Manifest {
	return []provider.Manifest{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "argocd"}},
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "argocd-cmd-params-cm", "namespace": "argocd"},
			"data": map[string]any{"server.insecure": "true"}},
		{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "argocd-server", "namespace": "argocd"},
			"spec": map[string]any{"type": "ClusterIP", "selector": map[string]any{"app.kubernetes.io/name": "argocd-server"}}},
		// The controller that recreates what is in Git.
		{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": map[string]any{"name": "argocd-application-controller", "namespace": "argocd"},
			"spec": map[string]any{"replicas": float64(1)}},
		// Upstream's manifest does not set the number of replicas, and an apply does not restore the API server's default.
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
		return die("the name of the release is missing")
	}
	name, downloads := s.args[0], s.args[1:]
	if len(downloads) >= 2 && downloads[0] == "--files-mirror" {
		downloads = downloads[2:]
	}
	if len(downloads) == 0 || len(downloads)%2 != 0 {
		return die("the custom resource definitions of %s need a checksum for each URL", name)
	}
	for i := 0; i < len(downloads); i += 2 {
		if err := s.checkDownload(downloads[i], downloads[i+1]); err != nil {
			return err
		}
	}
	if _, known := provider.Bundles[name]; !known {
		return die("the simulated host does not know the custom resource definitions of %q", name)
	}
	if err := cluster.InstallBundle(name); err != nil {
		return err
	}
	return s.say("custom resource definitions of %s applied from %d files", name, len(downloads)/2)
}

// admission succeeds if the release whose webhook it waits for is installed.
func (s *shell) admission(context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if len(s.args) != 1 || s.data == "" {
		return die("the name of the webhook, or the object on standard input, is missing")
	}
	releases, err := cluster.Releases()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(releases, func(r provider.Release) bool { return r.Name == s.args[0] }) {
		return die("the webhook of %s cannot be reached or rejects the object that the program is about to create: there is no such release", s.args[0])
	}
	return s.say("the webhook of %s answers", s.args[0])
}

// secret checks only the ExternalSecret: the simulation has no Secret that is copied from it.
func (s *shell) secret(ctx context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	name, version := s.flags["namespace"]+"/"+s.flags["name"], s.flags["version"]
	at, err := cluster.Get(ctx, provider.Ref{
		APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: s.flags["namespace"], Name: s.flags["name"],
	})
	if err != nil && !errors.Is(err, provider.ErrNotFound) {
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

func (s *shell) accounts(ctx context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	namespaces := list(s.flags["namespaces"])
	for _, namespace := range namespaces {
		if _, err := cluster.Get(ctx, provider.Ref{APIVersion: "v1", Kind: "Namespace", Name: namespace}); errors.Is(err, provider.ErrNotFound) {
			return die(`Error from server (NotFound): namespaces "%s" not found`, namespace)
		} else if err != nil {
			return err
		}
	}
	return s.say("%d default service accounts give no token", len(namespaces))
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
	if leaving == "" { // written by an earlier version, which did not record joins
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

// forget deletes the record of the script's node if it is of that machine.
func (s *shell) forget(providerID string) error {
	return s.update(func(st *state) {
		if st.Recorded[s.flags["node"]].ProviderID == providerID {
			delete(st.Recorded, s.flags["node"])
		}
	})
}
