// Package bench measures what the program costs the engine: steps and seconds without any waiting, for
// clusters of several sizes, and, from the latencies of the models, how long the longest chain of waits is.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"eco2/rehearsal/stack"
	"eco2/rehearsal/toolchain"
)

// Sizes are the numbers of nodes: the cluster's own, and four and sixteen times as many.
var Sizes = []int{14, 56, 224}

// Run brings a stack of each size up, previews it and destroys it, and prints a table. The state goes to
// temporary directories.
func Run(ctx context.Context, out, progress io.Writer, tools toolchain.Toolchain, repo string) error {
	const columns = "%6v  %11v  %7v  %10v  %10v  %20v\n"
	_, _ = fmt.Fprintf(out, columns, "nodes", "steps of up", "up s", "preview s", "destroy s", "critical path of up")
	var up, down Path
	for i, nodes := range Sizes {
		r, err := measure(ctx, progress, tools, repo, nodes)
		if err != nil {
			return fmt.Errorf("measuring %d nodes: %w", nodes, err)
		}
		if i == 0 {
			up, down = r.path, r.destroyPath
		}
		_, _ = fmt.Fprintf(out, columns, nodes, r.steps, r.up, r.preview, r.destroy, r.path.Total.Round(time.Second))
	}
	_, _ = fmt.Fprintf(out, "\nThe critical path of up for %d nodes, under the models' latencies:\n%s", Sizes[0], up)
	_, _ = fmt.Fprintf(out, "\nThe critical path of destroy: %s\n%s", down.Total.Round(time.Second), down)
	took, err := slowDestroy(ctx, progress, tools, repo)
	if err != nil {
		return fmt.Errorf("measuring a destroy under latencies: %w", err)
	}
	_, err = fmt.Fprintf(out, "\nA destroy under these latencies, of a cluster with a load balancer and its records, measured: %v s\n", took)
	return err
}

// slowDestroy measures a destroy that waits as long as AWS does. It is the stack's own size, and of it the
// sweep really runs.
func slowDestroy(ctx context.Context, progress io.Writer, tools toolchain.Toolchain, repo string) (took seconds, err error) {
	dir, err := os.MkdirTemp("", "eco2-bench-")
	if err != nil {
		return 0, fmt.Errorf("making a state directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	options := stack.Options{Repo: repo, StateDir: dir, SettingsOf: "dev"}
	for _, operation := range []string{"up", "destroy"} {
		s, err := stack.Open(ctx, "bench", tools, options)
		if err != nil {
			return 0, err
		}
		if took, err = operate(ctx, progress, s, "under latencies", operation); err != nil {
			return 0, err
		}
		options.Latency = 1
	}
	return took, nil
}

// operate is how long an operation takes.
func operate(ctx context.Context, progress io.Writer, s *stack.Stack, what, operation string, more ...string) (seconds, error) {
	_, _ = fmt.Fprintf(progress, "%s: %s\n", what, operation)
	started := time.Now()
	output, err := s.Output(ctx, s.Operation(operation, more...)...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", operation, err, output)
	}
	return seconds(time.Since(started)), nil
}

type result struct {
	steps                int
	up, preview, destroy seconds
	path, destroyPath    Path
}

type seconds time.Duration

func (s seconds) String() string { return fmt.Sprintf("%.1f", time.Duration(s).Seconds()) }

func measure(ctx context.Context, progress io.Writer, tools toolchain.Toolchain, repo string, nodes int) (r result, err error) {
	dir, err := os.MkdirTemp("", "eco2-bench-")
	if err != nil {
		return r, fmt.Errorf("making a state directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := stack.Open(ctx, "bench", tools, stack.Options{
		Repo: repo, StateDir: dir, SettingsOf: "dev", Config: map[string]any{"nodes": workers(nodes - 1)},
	})
	if err != nil {
		return r, err
	}
	what := fmt.Sprintf("%d nodes", nodes)
	if r.up, err = operate(ctx, progress, s, what, "up"); err != nil {
		return r, err
	}
	if r.preview, err = operate(ctx, progress, s, what, "preview", "--expect-no-changes"); err != nil {
		return r, err
	}
	state, err := s.Resources(ctx)
	if err != nil {
		return r, err
	}
	r.steps, r.path, r.destroyPath = len(state), criticalPath(state), destroyPath(state)
	r.destroy, err = operate(ctx, progress, s, what, "destroy")
	return r, err
}

// workers spreads a number of workers over the entries of the node table, as counts of their overrides.
func workers(n int) map[string]any {
	names := []string{
		"k8s-api-auth", "k8s-api-my", "k8s-api-scan", "k8s-api-character", "k8s-api-location", "k8s-api-info",
		"k8s-api-chat", "k8s-worker-storage", "k8s-worker-ai", "k8s-rabbitmq", "k8s-postgresql", "k8s-redis", "k8s-monitoring",
	}
	counts := map[string]any{}
	for i, name := range names {
		count := n / len(names)
		if i < n%len(names) {
			count++
		}
		counts[name] = map[string]any{"count": count}
	}
	return counts
}
