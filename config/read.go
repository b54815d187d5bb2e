package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// reader reads the settings of the running stack. It reports values that are not of their setting's type.
type reader struct {
	ctx *pulumi.Context
	*report
}

// read returns all settings with their defaults. Pulumi.yaml has the defaults that are plain values; those that depend
// on other settings, or that are for one field of a map, are here.
func (r *reader) read() Config {
	project, stack := r.ctx.Project(), r.ctx.Stack()
	c := Config{
		Name:            project + "-" + stack,
		ParameterPrefix: "/" + project + "/" + stack,
		Environment:     Environment(r.text("environment")),
		Protect:         r.boolean("protect"),
		Platform:        r.boolean("platform"),
		Region:          r.text("region"),
		Zones:           decode[[]string](r, "zones", "a list of availability zones"),
		VpcCidr:         r.network("vpcCidr", "10.0.0.0/16"),
		PodCidr:         r.network("podCidr", "192.168.0.0/16"),
		ServiceCidr:     r.network("serviceCidr", "10.96.0.0/12"),
		AdminCidrs:      r.adminNetworks(),
		NodePortCidrs:   r.networks("nodePortCidrs"),
		Domain:          r.text("domain"),
		HostedZoneID:    r.text("hostedZoneId"),
		SSH:             r.ssh(),
		AMI:             r.text("ami"),
		Nodes:           decode[map[string]NodeOverride](r, "nodes", "a map from node name to {instanceType, diskGb, count}"),
		Versions:        decode[Versions](r, "versions", "{kubernetes, containerd, calico, argocd, untested}"),
		Upgrade:         decode[Upgrade](r, "upgrade", "{parallel, packages}"),
		GitOps:          decode[GitOps](r, "gitops", "{repository, revision, path}"),
		Mirror:          decode[Mirror](r, "mirror", "{files, images, sha256, keys}"),
		Passwords: Passwords{
			Postgres: r.password("postgresPassword"),
			Redis:    r.password("redisPassword"),
			RabbitMQ: r.password("rabbitmqPassword"),
			Grafana:  r.password("grafanaPassword"),
		},
	}

	c.Upgrade.Parallel = cmp.Or(c.Upgrade.Parallel, 1)
	c.Backup, c.RestoreFrom = r.backup(c.Environment), r.text("restoreFrom")
	c.Versions.Kubernetes = cmp.Or(c.Versions.Kubernetes, DefaultVersions.Kubernetes)
	c.Versions.Containerd = cmp.Or(c.Versions.Containerd, DefaultVersions.Containerd)
	c.Versions.Calico = cmp.Or(c.Versions.Calico, DefaultVersions.Calico)
	c.Versions.ArgoCD = cmp.Or(c.Versions.ArgoCD, DefaultVersions.ArgoCD)
	return c
}

// text returns a setting's value without surrounding white space, or an empty string if it is not set. It does not use
// the SDK's getters, because they warn when a secret is read as plain text, which validation must do.
func (r *reader) text(name string) string {
	value, _ := r.ctx.GetConfig(r.key(name))
	return strings.TrimSpace(value)
}

// decode reads a setting in JSON as a T. It reports unknown fields as a problem; shape describes the expected value in
// the message.
func decode[T any](r *reader, name, shape string) T {
	var value T
	text := r.text(name)
	if text == "" {
		return value
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		r.problem(name, "must be %s (%v)", shape, err)
	}
	return value
}

func (r *reader) boolean(name string) bool {
	switch value := r.text(name); value {
	case "true":
		return true
	case "", "false":
		return false
	default:
		r.problem(name, "must be true or false, not %q", value)
		return false
	}
}

// network reads an IPv4 network that must be set. It returns the zero value if the setting is missing or malformed.
func (r *reader) network(name, example string) netip.Prefix {
	value := r.text(name)
	if value == "" {
		r.problem(name, "is missing; set an IPv4 network such as %s", example)
		return netip.Prefix{}
	}
	return r.parseNetwork(name, value)
}

// adminNetworks reads adminCidrs, which must be set.
func (r *reader) adminNetworks() []netip.Prefix {
	problems := len(r.problems)
	networks := r.networks("adminCidrs")
	if len(networks) == 0 && len(r.problems) == problems {
		r.problem("adminCidrs", "is missing; set the addresses that may reach SSH and the Kubernetes API, for instance: "+
			"pulumi config set --path '%s[0]' 203.0.113.7/32", r.key("adminCidrs"))
	}
	return networks
}

// networks reads a list of IPv4 networks, which is empty if it is not set. It leaves out malformed elements.
func (r *reader) networks(name string) []netip.Prefix {
	var out []netip.Prefix
	for i, value := range decode[[]string](r, name, `a list of IPv4 networks such as ["203.0.113.7/32"]`) {
		if p := r.parseNetwork(fmt.Sprintf("%s[%d]", name, i), value); p.IsValid() {
			out = append(out, p)
		}
	}
	// The order in the stack file has no meaning. Sorting keeps the order of the rules independent of it.
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

func (r *reader) parseNetwork(name, value string) netip.Prefix {
	p, err := netip.ParsePrefix(value)
	switch {
	case err != nil || !p.Addr().Is4():
		r.problem(name, "%q is not an IPv4 network; write it as address/bits, such as 10.0.0.0/16", value)
		return netip.Prefix{}
	case p != p.Masked():
		r.problem(name, "%q has host bits set; the network is %s", value, p.Masked())
		return netip.Prefix{}
	}
	return p
}

func secret(value string) pulumi.StringOutput {
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput)
}
