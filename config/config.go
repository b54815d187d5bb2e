// Package config reads and validates a stack's configuration. It reports all problems at once, before any resource is
// registered; each names its key and says what would be right.
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

// Config holds a stack's configuration after validation.
type Config struct {
	// Name is "<project>-<stack>". It is the cluster's name and the prefix of every name that must be unique in an AWS
	// account, so that one account can hold several stacks.
	Name string
	// ParameterPrefix is "/<project>/<stack>", the path of the stack's SSM parameters.
	ParameterPrefix string

	Environment Environment
	// Protect makes Pulumi refuse to destroy the network and the control plane until it is unset.
	Protect bool
	// Platform adds Argo CD and everything that package platform declares. Without it the cluster is bare.
	Platform bool

	Region      string
	Zones       []string
	VpcCidr     netip.Prefix
	PodCidr     netip.Prefix
	ServiceCidr netip.Prefix
	// AdminCidrs lists the networks that may reach SSH (22) and the Kubernetes API (6443).
	AdminCidrs []netip.Prefix
	// NodePortCidrs lists the networks that may reach the NodePorts. It defaults to AdminCidrs.
	NodePortCidrs []netip.Prefix

	// Domain and HostedZoneID are both set or both empty. If they are empty, there is no certificate and no Ingress, and
	// ports 80 and 443 stay closed.
	Domain       string
	HostedZoneID string

	SSH       SSH
	AMI       string
	Nodes     map[string]NodeOverride
	Versions  Versions
	GitOps    GitOps
	Passwords Passwords
	Mirror    Mirror

	// Previous holds the settings of the last update that finished.
	Previous Previous

	// Warnings lists settings that are allowed but that the user should know about. Load logs them.
	Warnings []string
}

// Environment determines replicas, retention and disk sizes of the platform.
type Environment string

const (
	// Dev keeps monitoring data for 15 days and on no volume.
	Dev Environment = "dev"
	// Prod keeps monitoring data for 30 days, on volumes, and refuses to expose a port to half of the internet or more.
	Prod Environment = "prod"
)

// SSH holds the user and the key with which the program logs in to the machines.
type SSH struct {
	User       string
	PrivateKey pulumi.StringOutput
	// PublicKey is derived from the private key, in the format of authorized_keys.
	PublicKey string
}

// NodeOverride changes one entry of the node table for a stack. A field with its zero value changes nothing.
type NodeOverride struct {
	InstanceType string `json:"instanceType"`
	// DiskGB is the size of the root disk in GiB.
	DiskGB int `json:"diskGb"`
	// Count is the number of machines of this entry; the second is named <name>-2. A count of zero removes the entry.
	Count *int `json:"count"`
}

// GitOps says where the root Application finds the workloads. It is empty in a stack without workloads.
type GitOps struct {
	Repository string `json:"repository"`
	Revision   string `json:"revision"`
	Path       string `json:"path"`
}

// Passwords holds the passwords that are stored in SSM as SecureStrings. External Secrets copies them to the workloads.
type Passwords struct {
	Postgres, Redis, RabbitMQ, Grafana pulumi.StringOutput
}

// Mirror configures local copies of what the machines would otherwise download from the internet. Every field is
// optional.
type Mirror struct {
	// Files is the base URL of a server that serves https://HOST/PATH at <files>/HOST/PATH: packages, their keys,
	// manifests, charts.
	Files string `json:"files"`
	// Images is the URL of a mirror of every image registry. containerd requests /v2/… with ?ns=<registry> from it.
	Images string `json:"images"`
	// SHA256 holds the checksums, in hexadecimal, of manifests that Files serves with other content than upstream's,
	// for example with other images. The key is the component or, for custom resource definitions, the release;
	// mirrorable lists all keys.
	SHA256 map[string]string `json:"sha256"`
}

// mirrorable lists the manifests whose checksum mirror.sha256 may override. Releases whose custom resource definitions
// are several files are not among them, because there is one checksum per release.
var mirrorable = []string{
	"argocd", "aws-load-balancer-controller", "calico", "external-secrets", "rabbitmq-cluster-operator", "redis-operator",
}

// Checksum returns the checksum to expect of a manifest: the configured one if the mirror serves other content,
// otherwise the pinned one.
func (m Mirror) Checksum(name, pinned string) string {
	if sum, ok := m.SHA256[name]; ok {
		return sum
	}
	return pinned
}

// NodeEntry is an entry of the node table, which eco2:nodes may override.
type NodeEntry struct {
	Name string
	// RequiredBy names what can run only on this node. If it is set, the entry's count cannot be zero.
	RequiredBy string
}

// Load reads and validates the configuration of the running stack and logs its warnings. nodes holds the entries of
// the node table, the control plane's first. If the configuration is invalid, the error is an *Error.
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

// Error lists all problems of a stack's configuration.
type Error struct {
	Stack    string
	Problems []Problem
}

// Problem says what is wrong with one key, and what would be right.
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

// text returns a key's raw value without surrounding white space, or an empty string if the key is not set. It does not
// use the SDK's getters, because they warn when a secret is read as plain text, which validation must do.
func (l *loader) text(name string) string {
	value, _ := l.ctx.GetConfig(l.key(name))
	return strings.TrimSpace(value)
}

// read decodes a key's JSON value into T. It reports unknown fields as a problem; shape describes the expected value in
// the message.
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
		Name:            l.ctx.Project() + "-" + l.ctx.Stack(),
		ParameterPrefix: "/" + l.ctx.Project() + "/" + l.ctx.Stack(),
		Environment:     Environment(l.text("environment")),
		Protect:         l.boolean("protect"),
		Platform:        l.boolean("platform"),
		Region:          l.text("region"),
		Zones:           read[[]string](l, "zones", "a list of availability zones"),
		Domain:          l.text("domain"),
		HostedZoneID:    l.text("hostedZoneId"),
		AMI:             l.text("ami"),
		Nodes:           read[map[string]NodeOverride](l, "nodes", "a map from node name to {instanceType, diskGb, count}"),
		Versions:        read[Versions](l, "versions", "{kubernetes, containerd, calico, argocd, untested}"),
		GitOps:          read[GitOps](l, "gitops", "{repository, revision, path}"),
		Mirror:          read[Mirror](l, "mirror", "{files, images, sha256}"),
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
	// The order in the stack file has no meaning. Sorting keeps the order of the rules independent of it.
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

// password reads a secret that must be set. It reports values that AWS would reject or that would reach a workload
// altered.
func (l *loader) password(name string) pulumi.StringOutput {
	value, _ := l.ctx.GetConfig(l.key(name)) // not with text, which trims white space
	set := "pulumi config set --secret " + l.key(name)
	switch {
	case strings.TrimSpace(value) == "":
		l.problem(name, "is missing; set it with: %s", set)
	case !l.ctx.IsConfigSecret(l.key(name)):
		l.problem(name, "is in plain text; set it with: %s", set)
	case len(value) > 4096:
		l.problem(name, "is %d bytes long; an SSM parameter holds 4096", len(value))
	case value != strings.TrimSpace(value):
		l.problem(name, "starts or ends with white space, which is easily lost when it is copied; set it without: %s", set)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		l.problem(name, "contains a line break, a tab or another control character, or is not valid UTF-8; set a single line of text: %s", set)
	case strings.Contains(value, "{{"):
		l.problem(name, `contains "{{", which SSM takes for a reference to another parameter and rejects; set another value: %s`, set)
	}
	return secret(value)
}

func secret(value string) pulumi.StringOutput {
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
}
