package config

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// PreviousOutput is the name of the stack's output that the next run reads as Previous.
const PreviousOutput = "made"

// Previous is what the last update that finished said about the stack, in its output "made". It is zero
// before the first one.
type Previous struct {
	Name        string `pulumi:"name"`
	Region      string `pulumi:"region"`
	VpcCidr     string `pulumi:"vpcCidr"`
	PodCidr     string `pulumi:"podCidr"`
	ServiceCidr string `pulumi:"serviceCidr"`
	// Zones are the nodes' availability zones, by the node's name.
	Zones         map[string]string `pulumi:"zones"`
	AdminCidrs    []string          `pulumi:"adminCidrs"`
	NodePortCidrs []string          `pulumi:"nodePortCidrs"`
	Domain        string            `pulumi:"domain"`
	Platform      bool              `pulumi:"platform"`
}

// Output is what the next run reads as Previous. zones are the nodes' availability zones, by the node's name.
func (c Config) Output(zones pulumi.StringMap) pulumi.Map {
	return pulumi.Map{
		"name":          pulumi.String(c.Name),
		"region":        pulumi.String(c.Region),
		"vpcCidr":       pulumi.String(c.VpcCidr.String()),
		"podCidr":       pulumi.String(c.PodCidr.String()),
		"serviceCidr":   pulumi.String(c.ServiceCidr.String()),
		"zones":         zones,
		"adminCidrs":    pulumi.ToStringArray(texts(c.AdminCidrs)),
		"nodePortCidrs": pulumi.ToStringArray(texts(c.NodePortCidrs)),
		"domain":        pulumi.String(c.Domain),
		"platform":      pulumi.Bool(c.Platform),
	}
}

// readPrevious asks the engine for the outputs of the running stack. It is the function behind
// pulumi.StackReference, called directly: as a resource, the reference would keep a copy of all outputs in
// the state, the kubeconfig's too.
func readPrevious(ctx *pulumi.Context) (Previous, error) {
	args := map[string]any{"name": fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack())}
	var result struct {
		Outputs struct {
			Made Previous `pulumi:"made"`
		} `pulumi:"outputs"`
	}
	if err := ctx.Invoke("pulumi:pulumi:readStackOutputs", args, &result); err != nil {
		return Previous{}, fmt.Errorf("reading the outputs of stack %s: %w", ctx.Stack(), err)
	}
	return result.Outputs.Made, nil
}

// unchanged refuses settings that cannot change while the stack has machines: AWS and Kubernetes can only
// replace what depends on them, which is the whole cluster with its data.
func (l *loader) unchanged(c *Config, controlPlane string) {
	was := c.Previous
	if was.Name != "" && was.Name != c.Name {
		l.problems = append(l.problems, Problem{"stack name", fmt.Sprintf(
			"the cluster was made as %q and would be replaced by %q; take the old name back with pulumi stack rename, "+
				"or make a new stack beside it; %s", was.Name, c.Name, replacing)})
	}
	for _, setting := range []struct{ key, was, is string }{
		{"region", was.Region, c.Region},
		{"vpcCidr", was.VpcCidr, network(c.VpcCidr)},
		{"podCidr", was.PodCidr, network(c.PodCidr)},
		{"serviceCidr", was.ServiceCidr, network(c.ServiceCidr)},
	} {
		// A setting that is missing or malformed has its own problem.
		if setting.was != "" && setting.is != "" && setting.was != setting.is {
			l.problem(setting.key, "the cluster was made with %s, and %s would replace all of it; take it back with: "+
				"pulumi config set %s %s; %s", setting.was, setting.is, l.key(setting.key), setting.was, replacing)
		}
	}
	if was.Platform && !c.Platform {
		// The preview's list of deletes does not say what the sweep's own delete deletes.
		c.Warnings = append(c.Warnings, l.key("platform")+": this update deletes the platform, and with it all volume claims "+
			"and their data; see docs/operations.md, 'Taking the platform away'")
	}
	if zone := was.Zones[controlPlane]; zone != "" && was.Region == c.Region && !slices.Contains(c.Zones, zone) {
		l.problem("zones", "leaves out %s, where %s is, whose replacement would be an empty cluster; put it back; %s",
			zone, controlPlane, replacing)
	}
}

// replacing says where the deliberate way is described.
const replacing = `to replace the cluster on purpose, see "Another region, network or name" in docs/operations.md`

// network is a prefix's text; empty if it is not set.
func network(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func texts(prefixes []netip.Prefix) []string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.String())
	}
	return out
}
