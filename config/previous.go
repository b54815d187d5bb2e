package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// PreviousOutput is the name of the stack output from which the next run reads Previous.
const PreviousOutput = "made"

// Previous holds the settings of the last update that finished, as recorded in the stack output "made". It is the
// zero value before the first update.
type Previous struct {
	Name        string `pulumi:"name"`
	Region      string `pulumi:"region"`
	VpcCidr     string `pulumi:"vpcCidr"`
	PodCidr     string `pulumi:"podCidr"`
	ServiceCidr string `pulumi:"serviceCidr"`
	// Zones maps the names of nodes to their availability zones.
	Zones map[string]string `pulumi:"zones"`
	// ControlPlane is the private address of the control plane's machine.
	ControlPlane  string   `pulumi:"controlPlane"`
	AdminCidrs    []string `pulumi:"adminCidrs"`
	NodePortCidrs []string `pulumi:"nodePortCidrs"`
	Domain        string   `pulumi:"domain"`
	Platform      bool     `pulumi:"platform"`
	// Kubernetes is the version of Kubernetes. It is empty if an earlier version of the program made the update.
	Kubernetes string `pulumi:"kubernetes"`
	// Packages is the date for which the nodes' packages were updated, or empty: see Upgrade.
	Packages string `pulumi:"packages"`
	// SnapshotBefore is the version of Kubernetes before which the newest snapshot for an upgrade was made, or empty.
	SnapshotBefore string `pulumi:"snapshotBefore"`
	// RestoreFrom is the snapshot of which the disk with the cluster's state was made, or empty.
	RestoreFrom string `pulumi:"restoreFrom"`
	// CertificatesExpire is the date on which the control plane's certificates expire, and CertificatesValidUntil the one
	// until which they had to be valid when they were renewed. Both are empty if they are not known.
	CertificatesExpire     string `pulumi:"certificatesExpire"`
	CertificatesValidUntil string `pulumi:"certificatesValidUntil"`
}

// Output returns the stack output from which the next run reads Previous. zones maps the names of nodes to their
// availability zones, controlPlane is the private address of the control plane's machine, and expire the date on which
// its certificates expire.
func (c Config) Output(zones pulumi.StringMap, controlPlane, expire pulumi.StringInput) pulumi.Map {
	return pulumi.Map{
		"name":           pulumi.String(c.Name),
		"region":         pulumi.String(c.Region),
		"vpcCidr":        pulumi.String(c.VpcCidr.String()),
		"podCidr":        pulumi.String(c.PodCidr.String()),
		"serviceCidr":    pulumi.String(c.ServiceCidr.String()),
		"zones":          zones,
		"controlPlane":   controlPlane,
		"adminCidrs":     pulumi.ToStringArray(texts(c.AdminCidrs)),
		"nodePortCidrs":  pulumi.ToStringArray(texts(c.NodePortCidrs)),
		"domain":         pulumi.String(c.Domain),
		"platform":       pulumi.Bool(c.Platform),
		"kubernetes":     pulumi.String(c.Versions.Kubernetes),
		"packages":       pulumi.String(c.Upgrade.Packages),
		"snapshotBefore": pulumi.String(c.SnapshotBefore()),
		"restoreFrom":    pulumi.String(c.RestoreFrom),

		"certificatesExpire":     expire,
		"certificatesValidUntil": pulumi.String(c.CertificatesValidUntil),
	}
}

// readPrevious reads the outputs of the running stack from the engine. It calls the function behind
// pulumi.StackReference directly: as a resource, a stack reference would keep a copy of all outputs in the state,
// including the kubeconfig.
//
// controlPlane is the name of the control plane's node. Earlier versions of the program recorded its address only in the
// output "nodes", whose fields are the type, the zone, the instance and the private address.
func readPrevious(ctx *pulumi.Context, controlPlane string) (Previous, error) {
	args := map[string]any{"name": fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack())}
	var result struct {
		Outputs struct {
			Made  Previous          `pulumi:"made"`
			Nodes map[string]string `pulumi:"nodes"`
		} `pulumi:"outputs"`
	}
	if err := ctx.Invoke("pulumi:pulumi:readStackOutputs", args, &result); err != nil {
		return Previous{}, fmt.Errorf("reading the outputs of stack %s: %w", ctx.Stack(), err)
	}
	previous := result.Outputs.Made
	if fields := strings.Fields(result.Outputs.Nodes[controlPlane]); previous.ControlPlane == "" && len(fields) == 4 {
		previous.ControlPlane = fields[3]
	}
	return previous, nil
}

// checkUnchanged reports changes of settings that must not change while the stack has machines. AWS and Kubernetes can
// only apply such a change by replacing what depends on it: the whole cluster with its data. It warns about the removal
// of the platform. controlPlane is the name of the control plane's node.
func (r *report) checkUnchanged(c Config, controlPlane string) {
	was := c.Previous
	if was.Name != "" && was.Name != c.Name {
		r.problems = append(r.problems, fmt.Sprintf(
			"stack name: the cluster was created as %q and would be replaced by %q; restore the old name with "+
				"pulumi stack rename, or create a separate new stack; %s", was.Name, c.Name, replacing))
	}
	for _, setting := range []struct{ key, was, is string }{
		{"region", was.Region, c.Region},
		{"vpcCidr", was.VpcCidr, text(c.VpcCidr)},
		{"podCidr", was.PodCidr, text(c.PodCidr)},
		{"serviceCidr", was.ServiceCidr, text(c.ServiceCidr)},
	} {
		// A setting that is missing or malformed has its own problem.
		if setting.was != "" && setting.is != "" && setting.was != setting.is {
			r.problem(setting.key, "the cluster was created with %s, and %s would replace all of it; restore it with: "+
				"pulumi config set %s %s; %s", setting.was, setting.is, r.key(setting.key), setting.was, replacing)
		}
	}
	if was.Platform && !c.Platform {
		// The preview lists the deletion of the sweep, but not what the sweep's delete script deletes.
		r.warning("platform", "this update deletes the platform, and with it all volume claims and their data; "+
			"see docs/operations.md, 'Taking the platform away'")
	}
	if zone := was.Zones[controlPlane]; zone != "" && was.Region == c.Region && !slices.Contains(c.Zones, zone) {
		r.problem("zones", "does not contain %s, the zone of %s, whose replacement would be an empty cluster; "+
			"add it again; %s", zone, controlPlane, replacing)
	}
}

// replacing refers to the instructions for replacing a cluster on purpose.
const replacing = `to replace the cluster on purpose, see "Another region, network or name" in docs/operations.md`

// text formats a prefix, or returns an empty string if it is not set.
func text(p netip.Prefix) string {
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
