package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

func (r *run) status() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show what exists: machines, clusters, and everything else in the account",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			exists, err := r.printMachines(ctx, os.Stdout)
			if err != nil || !exists {
				return err
			}
			s, err := r.open(ctx)
			if err == nil && r.level != setup.Simulate {
				err = r.printCluster(ctx, os.Stdout, s)
			}
			if err == nil {
				err = printOutputs(ctx, os.Stdout, s)
			}
			return err
		},
	}
}

// printMachines prints what is in the model of AWS and, if the machines are models too, in the modelled clusters.
// exists is false if the account is empty.
func (r *run) printMachines(ctx context.Context, out io.Writer) (exists bool, err error) {
	account := aws.Open(r.stateDir())
	simulated, err := simulated.New(r.stateDir(), simulated.OpenAccount(r.stateDir()))
	if err == nil && r.level == setup.Simulate {
		err = simulated.Settle()
	}
	if err != nil {
		return false, err
	}
	inventory, err := account.Inventory()
	if err != nil {
		return false, err
	}
	if len(inventory) == 0 {
		_, err := fmt.Fprintln(out, "Nothing exists: the model of AWS is empty. `make up` brings a stack up.")
		return false, err
	}
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}

	instances, err := account.Instances()
	if err != nil {
		return false, err
	}
	containers := map[string]string{}
	if r.level == setup.Rehearse {
		list, err := docker.List(ctx, r.stateDir())
		if err != nil {
			return false, err
		}
		for _, m := range list {
			containers[m.InstanceID] = m.Container + " " + m.State
		}
	}
	slices.SortFunc(instances, func(a, b aws.Instance) int { return strings.Compare(a.Name(), b.Name()) })
	t.row("MACHINE", "INSTANCE", "TYPE", "STATE", "ZONE", "PRIVATE", "PUBLIC", "CONTAINER")
	for _, i := range instances {
		container := containers[i.ID]
		if container == "" {
			container = "(model)"
		}
		t.row(i.Name(), i.ID, i.Type, i.State, i.AvailabilityZone, i.PrivateIP, i.PublicIP, container)
	}

	if r.level == setup.Simulate {
		clusters, err := simulated.Clusters()
		if err != nil {
			return false, err
		}
		for _, running := range clusters {
			if err := t.cluster(running); err != nil {
				return false, err
			}
		}
	}

	counts := inventory.Counts()
	t.row("")
	t.row("IN THE ACCOUNT (model)", "COUNT")
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		t.row(kind, fmt.Sprint(counts[kind]))
	}
	return true, t.Flush()
}

// printCluster prints the nodes and pods of the real cluster.
func (r *run) printCluster(ctx context.Context, out io.Writer, s *stack.Stack) error {
	kubectl, kubeconfig, err := r.administrator(ctx, s)
	if err != nil {
		_, err := fmt.Fprintf(out, "\nStack %s has no cluster yet.\n", s.Name)
		return err
	}
	for _, what := range []string{"nodes", "pods"} {
		_, _ = fmt.Fprintln(out) // if this fails, the following writes fail too
		cmd := exec.CommandContext(ctx, kubectl, "get", what, "--all-namespaces", "--output=wide", "--request-timeout=10s")
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("asking the cluster of stack %s for its %s: %w", s.Name, what, err)
		}
	}
	return nil
}

// printOutputs prints the stack's outputs that are a single value, such as addresses. The others describe the machines,
// which printMachines prints.
func printOutputs(ctx context.Context, out io.Writer, s *stack.Stack) error {
	outputs, err := s.Outputs(ctx)
	if err != nil {
		return err
	}
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row("")
	t.row("OUTPUT OF STACK "+s.Name, "VALUE")
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if text, ok := outputs[name].(string); ok {
			t.row(name, text)
		}
	}
	return t.Flush()
}

func (t *table) cluster(running simulated.Running) error {
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

// table writes rows of aligned columns. Flush returns its first write error.
type table struct{ *tabwriter.Writer }

func (t *table) row(columns ...string) {
	_, _ = fmt.Fprintln(t, strings.Join(columns, "\t")) // tabwriter returns an error again at Flush
}
