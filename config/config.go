// Package config turns a stack's configuration into plain Go values, validated whole: every problem is
// reported at once, each naming its key and what would be right, before any resource is registered.
package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Config is a stack's configuration after validation.
type Config struct {
	// Name is "<project>-<stack>": the cluster's name, and the prefix of every name that an AWS account
	// keeps unique, so that several stacks fit into one account.
	Name string
	// Prefix is "/<project>/<stack>", under which the SSM parameters stand.
	Prefix string

	Environment Environment
	// Protect refuses `pulumi destroy` for the network and the control plane until it is lifted.
	Protect bool
	// Platform adds Argo CD and all that the platform declares to the bare cluster.
	Platform bool

	Region      string
	Zones       []string
	VpcCidr     netip.Prefix
	PodCidr     netip.Prefix
	ServiceCidr netip.Prefix
	// AdminCidrs may reach SSH (22) and the Kubernetes API (6443); NodePortCidrs the NodePorts.
	AdminCidrs    []netip.Prefix
	NodePortCidrs []netip.Prefix

	// Domain and HostedZoneID are both set or both empty. Without them there is no certificate, no
	// Ingress, and 80 and 443 stay closed.
	Domain       string
	HostedZoneID string

	SSH       SSH
	AMI       string
	Nodes     map[string]NodeOverride
	Versions  Versions
	GitOps    GitOps
	Passwords Passwords
	Mirror    Mirror

	// Previous is what the last update that finished said about the stack.
	Previous Previous

	// Warnings are choices that are allowed here and that somebody should see.
	Warnings []string
}

// Environment decides replicas, retention and disk sizes of the platform.
type Environment string

// The environments.
const (
	Dev  Environment = "dev"
	Prod Environment = "prod"
)

// SSH is how the program reaches its machines.
type SSH struct {
	User       string
	PrivateKey pulumi.StringOutput
	// PublicKey is derived from the private key, in authorized_keys form.
	PublicKey string
}

// NodeOverride changes one entry of the node table for a stack. Zero values change nothing.
type NodeOverride struct {
	InstanceType string `json:"instanceType"`
	// DiskGB is the root disk in GiB.
	DiskGB int `json:"diskGb"`
	// Count is how many machines of this entry there are: the second is named <name>-2. Zero removes it.
	Count *int `json:"count"`
}

// GitOps is where the root Application finds the workloads.
type GitOps struct {
	Repository string `json:"repository"`
	Revision   string `json:"revision"`
	Path       string `json:"path"`
}

// Passwords go to SSM as SecureStrings, from which External Secrets brings them to the workloads.
type Passwords struct {
	Postgres, Redis, RabbitMQ, Grafana pulumi.StringOutput
}

// Mirror replaces the public internet where it does not reach. All of it is optional.
type Mirror struct {
	// Files answers for https://HOST/PATH at <files>/HOST/PATH: packages, their keys, manifests, charts.
	Files string `json:"files"`
	// Images answers for every image registry, as containerd asks a mirror: /v2/… with ?ns=<registry>.
	Images string `json:"images"`
	// SHA256 are the checksums, in hexadecimal, of the manifests that Files serves in another form than
	// their makers do, such as with other images in them. A manifest is named by its component, custom
	// resource definitions by their release; ownForms are all.
	SHA256 map[string]string `json:"sha256"`
}

// ownForms are the manifests that a mirror may serve in a form of its own. Definitions that are several
// files are not among them: a release has one checksum here.
var ownForms = []string{
	"argocd", "aws-load-balancer-controller", "calico", "external-secrets", "rabbitmq-cluster-operator", "redis-operator",
}

// Checksum is a manifest's: the mirror's, where it serves a form of its own, or the pinned one.
func (m Mirror) Checksum(name, pinned string) string {
	if sum, ok := m.SHA256[name]; ok {
		return sum
	}
	return pinned
}

// NodeEntry is what overrides may be said of: an entry of the node table.
type NodeEntry struct {
	Name string
	// Needed says what runs on no other node; with it, the entry cannot be left out.
	Needed string
}

// Load reads and validates the configuration of the running stack. nodes are the entries of the node
// table; the first is the control plane's.
func Load(ctx *pulumi.Context, nodes []NodeEntry) (Config, error) {
	l := &loader{ctx: ctx}
	c := l.load()
	var err error
	if c.Previous, err = readPrevious(ctx); err != nil {
		return Config{}, err
	}
	l.validate(&c, nodes)
	if len(l.problems) > 0 {
		return Config{}, &Error{Stack: ctx.Stack(), Problems: l.problems}
	}
	for _, warning := range c.Warnings {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return Config{}, fmt.Errorf("logging a warning: %w", err)
		}
	}
	return c, nil
}

// Error lists everything that is wrong with a stack's configuration.
type Error struct {
	Stack    string
	Problems []Problem
}

// Problem is one key and what would be right.
type Problem struct {
	Key, Text string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration of stack %s has %d problem(s):", e.Stack, len(e.Problems))
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %s: %s", p.Key, p.Text)
	}
	return b.String()
}

type loader struct {
	ctx      *pulumi.Context
	problems []Problem
}

func (l *loader) key(name string) string { return l.ctx.Project() + ":" + name }

func (l *loader) problem(name, format string, args ...any) {
	l.problems = append(l.problems, Problem{Key: l.key(name), Text: fmt.Sprintf(format, args...)})
}

// text reads a key's raw value; absent and empty are the same. The SDK's own getters warn when a secret
// is read as plain text, which validation has to do.
func (l *loader) text(name string) string {
	value, _ := l.ctx.GetConfig(l.key(name))
	return strings.TrimSpace(value)
}

// read decodes a key's JSON form into T, refusing fields it does not know.
func read[T any](l *loader, name, shape string) T {
	var value T
	text := l.text(name)
	if text == "" {
		return value
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		l.problem(name, "must be %s (%v)", shape, err)
	}
	return value
}

func (l *loader) load() Config {
	c := Config{
		Name:         l.ctx.Project() + "-" + l.ctx.Stack(),
		Prefix:       "/" + l.ctx.Project() + "/" + l.ctx.Stack(),
		Environment:  Environment(l.text("environment")),
		Protect:      l.boolean("protect"),
		Platform:     l.boolean("platform"),
		Region:       l.text("region"),
		Zones:        read[[]string](l, "zones", "a list of availability zones"),
		Domain:       l.text("domain"),
		HostedZoneID: l.text("hostedZoneId"),
		AMI:          l.text("ami"),
		Nodes:        read[map[string]NodeOverride](l, "nodes", "a map from node name to {instanceType, diskGb, count}"),
		Versions:     read[Versions](l, "versions", "{kubernetes, containerd, calico, argocd, untested}"),
		GitOps:       read[GitOps](l, "gitops", "{repository, revision, path}"),
		Mirror:       read[Mirror](l, "mirror", "{files, images, sha256}"),
	}
	c.VpcCidr = l.prefix("vpcCidr", "10.0.0.0/16")
	c.PodCidr = l.prefix("podCidr", "192.168.0.0/16")
	c.ServiceCidr = l.prefix("serviceCidr", "10.96.0.0/12")
	c.AdminCidrs = l.prefixes("adminCidrs")
	c.NodePortCidrs = l.prefixes("nodePortCidrs")
	c.SSH = l.ssh()
	c.Passwords = Passwords{
		Postgres: l.password("postgresPassword"),
		Redis:    l.password("redisPassword"),
		RabbitMQ: l.password("rabbitmqPassword"),
		Grafana:  l.password("grafanaPassword"),
	}
	return c
}

func (l *loader) boolean(name string) bool {
	switch value := l.text(name); value {
	case "true":
		return true
	case "", "false":
		return false
	default:
		l.problem(name, "must be true or false, not %q", value)
		return false
	}
}

func (l *loader) prefix(name, example string) netip.Prefix {
	value := l.text(name)
	if value == "" {
		l.problem(name, "is missing; set an IPv4 network such as %s", example)
		return netip.Prefix{}
	}
	return l.parsePrefix(name, value)
}

func (l *loader) prefixes(name string) []netip.Prefix {
	var out []netip.Prefix
	for i, value := range read[[]string](l, name, `a list of IPv4 networks such as ["203.0.113.7/32"]`) {
		if p := l.parsePrefix(fmt.Sprintf("%s[%d]", name, i), value); p.IsValid() {
			out = append(out, p)
		}
	}
	// The order in the stack file means nothing; a sorted one keeps every rule's name where it was.
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

func (l *loader) parsePrefix(name, value string) netip.Prefix {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is4():
		l.problem(name, "%q is not an IPv4 network; write it as address/bits, such as 10.0.0.0/16", value)
		return netip.Prefix{}
	case p != p.Masked():
		l.problem(name, "%q has host bits set; the network is %s", value, p.Masked())
		return netip.Prefix{}
	}
	return p
}

// password reads a secret that must be set. It refuses what would reach AWS or a workload as another text than
// was set.
func (l *loader) password(name string) pulumi.StringOutput {
	value, _ := l.ctx.GetConfig(l.key(name)) // not text, which trims
	set := "pulumi config set --secret " + l.key(name)
	switch {
	case strings.TrimSpace(value) == "":
		l.problem(name, "is missing; set it with: %s", set)
	case !l.ctx.IsConfigSecret(l.key(name)):
		l.problem(name, "is in plain text; set it with: %s", set)
	case len(value) > 4096:
		l.problem(name, "is %d bytes long; an SSM parameter holds 4096", len(value))
	case value != strings.TrimSpace(value):
		l.problem(name, "starts or ends with white space, which gets lost where people and programs copy it; set it without: %s", set)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		l.problem(name, "has a line break, a tab or another control character in it; set one line of text: %s", set)
	case strings.Contains(value, "{{"):
		l.problem(name, `has "{{" in it, with which SSM refers to another parameter and so refuses it; set another: %s`, set)
	}
	return secret(value)
}

func secret(value string) pulumi.StringOutput {
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
}
