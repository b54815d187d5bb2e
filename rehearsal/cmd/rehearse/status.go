package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/command/hosts"
)

func (r *run) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what the models hold: machines, clusters, releases, and all else in the account",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return printStatus(os.Stdout, r.state)
		},
	}
}

func printStatus(out io.Writer, stateDir string) error {
	account := aws.Open(stateDir)
	inventory, err := account.Inventory()
	if err != nil {
		return err
	}
	if len(inventory) == 0 {
		_, err := fmt.Fprintln(out, "Nothing exists: the model of AWS is empty. `make up` brings a stack up.")
		return err
	}
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}

	instances, err := account.Instances()
	if err != nil {
		return err
	}
	slices.SortFunc(instances, func(a, b aws.Instance) int { return strings.Compare(a.Name(), b.Name()) })
	t.row("MACHINE (model)", "INSTANCE", "TYPE", "STATE", "ZONE", "PRIVATE", "PUBLIC")
	for _, i := range instances {
		t.row(i.Name(), i.ID, i.Type, i.State, i.AvailabilityZone, i.PrivateIP, i.PublicIP)
	}

	simulated, err := hosts.New(stateDir, hosts.OpenAccount(stateDir))
	if err != nil {
		return err
	}
	clusters, err := simulated.Clusters()
	if err != nil {
		return err
	}
	for _, running := range clusters {
		if err := t.cluster(running); err != nil {
			return err
		}
	}

	counts := inventory.Counts()
	t.row("")
	t.row("IN THE ACCOUNT (model)", "COUNT")
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		t.row(kind, fmt.Sprint(counts[kind]))
	}
	return t.Flush()
}

func (t *table) cluster(running hosts.Running) error {
	nodes, err := running.Cluster.Nodes()
	if err != nil {
		return err
	}
	t.row("")
	t.row("NODE (model)", "READY", "VERSION", "PROVIDER ID", "TAINTS")
	for _, n := range nodes {
		t.row(n.Name, yes(n.Ready), n.Version, n.ProviderID, strings.Join(n.Taints, " "))
	}
	releases, err := running.Cluster.Releases()
	if err != nil {
		return err
	}
	t.row("")
	t.row("RELEASE (model)", "NAMESPACE", "CHART", "REVISION", "STATUS")
	for _, release := range releases {
		t.row(release.Name, release.Namespace, release.Version, fmt.Sprint(release.Revision), release.Status)
	}
	objects, err := running.Cluster.Objects()
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for _, object := range objects {
		counts[object.Ref().Kind]++
	}
	t.row("")
	t.row("IN THE CLUSTER (model)", "COUNT")
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		t.row(kind, fmt.Sprint(counts[kind]))
	}
	return nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// table writes rows of aligned columns; its first write error is reported by Flush.
type table struct{ *tabwriter.Writer }

func (t *table) row(columns ...string) {
	_, _ = fmt.Fprintln(t, strings.Join(columns, "\t")) // tabwriter repeats an error at Flush
}
