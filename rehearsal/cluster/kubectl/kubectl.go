// Package kubectl stands in for kubectl when the cluster is a model: the program's scripts use it on simulated
// machines, and people with `make kubectl`. It supports the commands and flags that those scripts use, and rejects all
// others.
package kubectl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/util/jsonpath"

	"eco2/rehearsal/cluster/controllers"
	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/setup"
)

// The environment variables that identify the cluster.
const (
	ClusterEnv  = "ECO2_KUBECTL_CLUSTER"
	StateDirEnv = "ECO2_KUBECTL_STATE"
)

// Called reports whether this process was started under the name kubectl. A binary that calls it first, and then Main
// if it is true, serves as kubectl through a symbolic link.
func Called() bool { return filepath.Base(os.Args[0]) == "kubectl" }

// Main runs the command line and exits the process.
func Main() {
	if err := Run(os.Getenv(StateDirEnv), os.Getenv(ClusterEnv), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// command is one run of kubectl.
type command struct {
	cluster     *model.Cluster
	controllers *controllers.Controllers
	out         io.Writer

	namespace string
	all       bool
	missingOK bool
	output    string
}

// Run runs one command line on a cluster of the model in a state directory.
func Run(stateDir, cluster string, args []string, out io.Writer) error {
	factor, err := setup.LatencyFromEnv()
	if err != nil {
		return err
	}
	c := &command{cluster: model.Open(stateDir).Cluster(cluster), out: out}
	c.controllers = controllers.New(c.cluster, stateDir, factor)
	root := &cobra.Command{Use: "kubectl", SilenceUsage: true, SilenceErrors: true}
	root.PersistentFlags().StringVarP(&c.namespace, "namespace", "n", "default", "")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		info, err := c.cluster.Info()
		if err == nil && info.Down {
			err = errors.New("the connection to the server was refused - did you specify the right host or port?")
		}
		if err != nil {
			return err
		}
		return c.controllers.Settle()
	}
	root.PersistentPostRunE = func(*cobra.Command, []string) error { return c.controllers.Settle() }
	root.AddCommand(c.get(), c.delete(), c.scale(), c.wait())
	root.SetArgs(args)
	root.SetOut(out)
	return root.Execute()
}

func (c *command) get() *cobra.Command {
	var raw string
	cmd := &cobra.Command{Use: "get", RunE: func(_ *cobra.Command, args []string) error {
		if raw != "" {
			return c.raw(raw)
		}
		switch path, isPath := strings.CutPrefix(c.output, "jsonpath="); {
		case len(args) == 1 && !strings.Contains(args[0], "/") && c.output == "name":
			return c.names(args[0])
		case len(args) == 1 && isPath && c.all:
			return c.list(args[0], path)
		case c.output == "name":
			return c.those(args)
		case len(args) == 1 && c.output == "":
			return c.table(args[0])
		}
		return fmt.Errorf("the stand-in for kubectl does not support get with the arguments %q and output %q", args, c.output)
	}}
	cmd.Flags().BoolVarP(&c.all, "all-namespaces", "A", false, "")
	cmd.Flags().BoolVar(&c.missingOK, "ignore-not-found", false, "")
	cmd.Flags().StringVarP(&c.output, "output", "o", "", "")
	cmd.Flags().StringVar(&raw, "raw", "", "")
	return cmd
}

// raw prints the API server's readiness, or the metrics of external-dns through the API server's proxy.
func (c *command) raw(path string) error {
	if path == "/readyz" {
		_, err := io.WriteString(c.out, "ok")
		return err
	}
	if !strings.HasSuffix(path, "/services/external-dns:7979/proxy/metrics") {
		return fmt.Errorf("the stand-in for kubectl does not support %s", path)
	}
	names, running, err := c.controllers.DNSNameCount()
	if err != nil {
		return err
	}
	if !running {
		return errors.New("the server could not find the requested resource")
	}
	_, err = fmt.Fprintf(c.out, "external_dns_source_endpoints_total %d\n", names)
	return err
}

// names prints the names of all objects of a kind, or of all custom resource definitions.
func (c *command) names(kind string) error {
	if kind == "customresourcedefinitions" {
		info, err := c.cluster.Info()
		for _, api := range info.Custom {
			group, _, _ := strings.Cut(api.APIVersion, "/")
			fmt.Fprintf(c.out, "customresourcedefinition.apiextensions.k8s.io/%s.%s\n", plural(api.Kind), group) //nolint:errcheck // an error of standard output is ignored
		}
		return err
	}
	objects, err := c.objects(kind)
	for _, o := range objects {
		fmt.Fprintln(c.out, name(o.Ref)) //nolint:errcheck // an error of standard output is ignored
	}
	return err
}

// those prints the names of the objects in args, each KIND/NAME, that exist.
func (c *command) those(args []string) error {
	for _, arg := range args {
		ref, found, err := c.lookup(arg)
		switch {
		case err != nil:
			return err
		case found:
			fmt.Fprintln(c.out, name(ref)) //nolint:errcheck // an error of standard output is ignored
		case !c.missingOK:
			return fmt.Errorf("%s not found", arg)
		}
	}
	return nil
}

// table prints the objects of a kind as a table for people.
func (c *command) table(kind string) error {
	objects, err := c.objects(kind)
	if err != nil {
		return err
	}
	rows := tabwriter.NewWriter(c.out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(rows, "NAMESPACE\tNAME\tDELETED") //nolint:errcheck // Flush returns the error
	for _, o := range objects {
		if o.Ref.Namespace != "" && o.Ref.Namespace != c.namespace && !c.all {
			continue
		}
		deleted := "-"
		if !o.Deleted.IsZero() {
			deleted = "since " + o.Deleted.Format(time.TimeOnly) + ", held by a finalizer"
		}
		fmt.Fprintf(rows, "%s\t%s\t%s\n", o.Ref.Namespace, o.Ref.Name, deleted) //nolint:errcheck // Flush returns the error
	}
	return rows.Flush()
}

func (c *command) list(kind, path string) error {
	objects, err := c.objects(kind)
	if err != nil {
		return err
	}
	items := []any{}
	for _, o := range objects {
		items = append(items, map[string]any(o.Live))
	}
	// Converted through JSON to the types that the templates support.
	data, err := json.Marshal(map[string]any{"items": items})
	if err != nil {
		return err
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return err
	}
	template := jsonpath.New("get").AllowMissingKeys(true)
	if err := template.Parse(path); err != nil {
		return fmt.Errorf("parsing the template %s: %w", path, err)
	}
	return template.Execute(c.out, plain)
}

func (c *command) delete() *cobra.Command {
	var wait bool
	var grace int
	cmd := &cobra.Command{Use: "delete KIND NAME", Args: cobra.ExactArgs(2), RunE: func(_ *cobra.Command, args []string) error {
		ref, found, err := c.lookup(args[0] + "/" + args[1])
		switch {
		case err != nil:
			return err
		case !found && c.missingOK:
			return nil
		case wait:
			return errors.New("the stand-in for kubectl does not support waiting for a delete; use --wait=false")
		}
		err = c.cluster.Delete(context.Background(), ref)
		if err != nil && (!c.missingOK || !errors.Is(err, provider.ErrNotFound)) {
			return err
		}
		fmt.Fprintf(c.out, "%s deleted\n", name(ref)) //nolint:errcheck // an error of standard output is ignored
		return nil
	}}
	cmd.Flags().BoolVar(&c.missingOK, "ignore-not-found", false, "")
	cmd.Flags().BoolVar(&wait, "wait", true, "")
	cmd.Flags().IntVar(&grace, "grace-period", -1, "")
	return cmd
}

func (c *command) scale() *cobra.Command {
	var replicas int
	cmd := &cobra.Command{Use: "scale KIND NAME | KIND/NAME", Args: cobra.RangeArgs(1, 2), RunE: func(_ *cobra.Command, args []string) error {
		ref, found, err := c.lookup(strings.Join(args, "/"))
		if err == nil && !found {
			err = fmt.Errorf("%s not found", strings.Join(args, "/"))
		}
		if err != nil {
			return err
		}
		_, err = c.cluster.Apply(context.Background(), provider.Manifest{
			"apiVersion": ref.APIVersion, "kind": ref.Kind,
			"metadata": map[string]any{"namespace": ref.Namespace, "name": ref.Name},
			"spec":     map[string]any{"replicas": float64(replicas)},
		}, provider.ApplyOptions{Manager: "kubectl", Force: true})
		return err
	}}
	cmd.Flags().IntVar(&replicas, "replicas", -1, "")
	return cmd
}

// wait returns at once, as the model deletes pods at once. It supports only --for=delete.
func (c *command) wait() *cobra.Command {
	var condition, selector string
	var timeout time.Duration
	cmd := &cobra.Command{Use: "wait", RunE: func(*cobra.Command, []string) error {
		if condition != "delete" {
			return fmt.Errorf("the stand-in for kubectl does not support waiting for %q", condition)
		}
		return nil
	}}
	cmd.Flags().StringVar(&condition, "for", "", "")
	cmd.Flags().StringVar(&selector, "selector", "", "")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "")
	return cmd
}

// lookup finds the object KIND/NAME, where KIND may include a group: statefulset.apps/web.
func (c *command) lookup(arg string) (provider.Ref, bool, error) {
	kind, wanted, ok := strings.Cut(arg, "/")
	if !ok {
		return provider.Ref{}, false, fmt.Errorf("the stand-in for kubectl needs KIND/NAME, not %q", arg)
	}
	objects, err := c.objects(kind)
	at := slices.IndexFunc(objects, func(o model.Object) bool {
		return o.Ref.Name == wanted && (o.Ref.Namespace == "" || o.Ref.Namespace == c.namespace)
	})
	if err != nil || at < 0 {
		return provider.Ref{}, false, err
	}
	return objects[at].Ref, true, nil
}

// objects returns the objects of a kind, in all namespaces.
func (c *command) objects(kind string) ([]model.Object, error) {
	wanted, group, _ := strings.Cut(strings.ToLower(kind), ".")
	all, err := c.cluster.List()
	return slices.DeleteFunc(all, func(o model.Object) bool {
		named := wanted == strings.ToLower(o.Ref.Kind) || wanted == plural(o.Ref.Kind)
		return !named || group != "" && group != o.Ref.Group()
	}), err
}

// plural returns a kind's name in URLs. Redis is its own plural.
func plural(kind string) string {
	switch lower := strings.ToLower(kind); {
	case lower == "redis":
		return lower
	case strings.HasSuffix(lower, "s"):
		return lower + "es"
	case strings.HasSuffix(lower, "y"):
		return strings.TrimSuffix(lower, "y") + "ies"
	default:
		return lower + "s"
	}
}

// name returns an object's name as kubectl prints it: statefulset.apps/web.
func name(ref provider.Ref) string {
	kind := strings.ToLower(ref.Kind)
	if group := ref.Group(); group != "" {
		kind += "." + group
	}
	return kind + "/" + ref.Name
}
