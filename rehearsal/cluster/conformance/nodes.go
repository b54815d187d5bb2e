package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// controlPlane is the taint of the node that the tests' pods stay away from.
const controlPlane = "node-role.kubernetes.io/control-plane"

type taint struct{ Key, Value, Effect string }

func (t taint) String() string { return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect) }

// cluster is what the tests run on, as its administrator sees it.
type cluster struct{ kubectlPath, kubeconfig string }

func (c cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectlPath, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return string(output), nil
}

// removeNamespaces deletes what tests have left behind that were killed or interrupted.
func (c cluster) removeNamespaces(ctx context.Context) error {
	_, err := c.kubectl(ctx, "delete", "namespaces", "--selector=e2e-framework", "--ignore-not-found", "--timeout=5m")
	if err != nil {
		return fmt.Errorf("deleting the tests' namespaces: %w", err)
	}
	return nil
}

// workers are the taints of all nodes but the control plane's, by the node's name.
func (c cluster) workers(ctx context.Context) (map[string][]taint, error) {
	output, err := c.kubectl(ctx, "get", "nodes", "--output=json", "--request-timeout=30s")
	if err != nil {
		return nil, err
	}
	var nodes struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Taints []taint }
		}
	}
	if err := json.Unmarshal([]byte(output), &nodes); err != nil {
		return nil, fmt.Errorf("reading the nodes: %w", err)
	}
	workers := map[string][]taint{}
	for _, node := range nodes.Items {
		if !slices.ContainsFunc(node.Spec.Taints, func(t taint) bool { return t.Key == controlPlane }) {
			workers[node.Metadata.Name] = node.Spec.Taints
		}
	}
	return workers, nil
}

// tainted are those of the workers that take no pods of the tests, which tolerate nothing.
func tainted(workers map[string][]taint) map[string][]taint {
	some := maps.Clone(workers)
	maps.DeleteFunc(some, func(_ string, taints []taint) bool { return len(taints) == 0 })
	return some
}

// liftTaints opens workers to the tests' pods. What the taints were is in the file before they go, so that the next run
// puts them back where this one is killed.
func (c cluster) liftTaints(ctx context.Context, taints map[string][]taint, file string) error {
	data, err := json.Marshal(taints)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("noting the nodes' taints: %w", err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil { //nolint:gosec // taints are no secret
		return fmt.Errorf("noting the nodes' taints: %w", err)
	}
	for node, list := range taints {
		args := []string{"taint", "nodes", node}
		for _, t := range list {
			args = append(args, t.Key+":"+t.Effect+"-")
		}
		if _, err := c.kubectl(ctx, args...); err != nil {
			return fmt.Errorf("lifting the taints of %s: %w", node, err)
		}
	}
	return nil
}

// restoreTaints puts back what the file notes, if there is one.
func (c cluster) restoreTaints(ctx context.Context, file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading which taints the nodes had: %w", err)
	}
	var taints map[string][]taint
	if err := json.Unmarshal(data, &taints); err != nil {
		return fmt.Errorf("reading which taints the nodes had, in %s: %w", file, err)
	}
	var problems []error
	for node, list := range taints {
		args := []string{"taint", "nodes", node, "--overwrite"}
		for _, t := range list {
			args = append(args, t.String())
		}
		if _, err := c.kubectl(ctx, args...); err != nil && !strings.Contains(err.Error(), "not found") { // the node has left
			problems = append(problems, fmt.Errorf("putting back the taints of %s: %w", node, err))
		}
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	return os.Remove(file)
}
