// Package bench measures how much work the program is for the engine: the number of steps, and the seconds without any
// waiting, for clusters of several sizes. It also computes the critical paths from the models' latencies.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"eco2/rehearsal/cloud/bucket"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/engine/toolchain"
)

// Sizes are the measured numbers of nodes: that of the cluster, and four and sixteen times as many.
var Sizes = []int{14, 56, 224}

// distance is the time that a bucket in AWS takes to answer: tens of milliseconds from an office in the same country or
// from a runner elsewhere, a few from a machine in the region.
const distance = 50 * time.Millisecond

// largestInBucket is the largest size that is measured with the state in a bucket. With a larger one an update takes a
// quarter of an hour.
const largestInBucket = 56

// Run brings a stack of each size up, previews it and destroys it, with its state in a directory and in a bucket, and
// prints tables to out. It works in temporary directories.
func Run(ctx context.Context, out, progress io.Writer, tools toolchain.Toolchain, repo string) error {
	up, down, err := inDirectory(ctx, out, progress, tools, repo)
	if err != nil {
		return err
	}
	if err := inBucket(ctx, out, progress, tools, repo); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\nThe critical path of up for %d nodes, under the models' latencies:\n%s", Sizes[0], criticalPath(up))
	_, _ = fmt.Fprintf(out, "\nThe critical path of destroy: %s\n%s", down.Took.Round(time.Second), criticalPath(down))
	took, err := slowDestroy(ctx, progress, tools, repo)
	if err != nil {
		return fmt.Errorf("measuring a destroy under latencies: %w", err)
	}
	_, err = fmt.Fprintf(out, "\nA destroy under these latencies, of a cluster with a load balancer and its records, measured: %v s\n", took)
	return err
}

// inDirectory prints the measurements with the state in a local directory, and returns the estimated timelines
// of the smallest size.
func inDirectory(ctx context.Context, out, progress io.Writer, tools toolchain.Toolchain, repo string) (up, down timeline.Timeline, err error) {
	const columns = "%6v  %11v  %7v  %12v  %10v  %10v  %20v\n"
	_, _ = fmt.Fprintf(out, columns, "nodes", "steps of up", "up s", "unchanged s", "preview s", "destroy s", "critical path of up")
	for i, nodes := range Sizes {
		r, err := measure(ctx, progress, tools, repo, nodes, setup{destroy: unsaved})
		if err != nil {
			return up, down, fmt.Errorf("measuring %d nodes: %w", nodes, err)
		}
		if i == 0 {
			up, down = r.estimatedUp, r.estimatedDestroy
		}
		_, _ = fmt.Fprintf(out, columns, nodes, r.steps, r.up, r.unchanged, r.preview, r.destroy, r.estimatedUp.Took.Round(time.Second))
	}
	return up, down, nil
}

// The settings that README.md recommends for a state in a bucket: compression, and a destroy that writes the state
// once.
var (
	compressed = []string{"PULUMI_DIY_BACKEND_ZSTD=true"}
	unsaved    = []string{"PULUMI_SKIP_CHECKPOINTS=true"}
)

// inBucket prints the measurements with the state in a bucket: first with Pulumi's defaults, then as README.md
// recommends.
func inBucket(ctx context.Context, out, progress io.Writer, tools toolchain.Toolchain, repo string) error {
	const columns = "%6v  %-9v  %7v  %12v  %10v  %10v  %28v  %22v\n"
	_, _ = fmt.Fprintf(out, "\nThe same with the state in a bucket that answers after %v:\n", distance)
	_, _ = fmt.Fprintf(out, columns, "nodes", "settings", "up s", "unchanged s", "preview s", "destroy s",
		"requests of up, destroy", "MB sent, up, destroy")
	for _, c := range []struct {
		nodes int
		name  string
		setup
	}{
		{Sizes[0], "none", setup{}},
		{Sizes[0], "documented", setup{always: compressed, destroy: unsaved}},
		{largestInBucket, "documented", setup{always: compressed, destroy: unsaved}},
	} {
		c.distance = distance
		r, err := measure(ctx, progress, tools, repo, c.nodes, c.setup)
		if err != nil {
			return fmt.Errorf("measuring %d nodes with the state in a bucket: %w", c.nodes, err)
		}
		_, _ = fmt.Fprintf(out, columns, c.nodes, c.name, r.up, r.unchanged, r.preview, r.destroy,
			fmt.Sprintf("%d, %d", r.upTraffic.Requests, r.destroyTraffic.Requests),
			fmt.Sprintf("%.1f, %.1f", float64(r.upTraffic.Sent)/1e6, float64(r.destroyTraffic.Sent)/1e6))
	}
	return nil
}

// slowDestroy measures a destroy with latencies like AWS's, of a stack of the default size. The script of its sweep is
// really run.
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

// operate runs an operation and returns how long it took.
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
	steps                           int
	up, unchanged, preview, destroy seconds
	estimatedUp, estimatedDestroy   timeline.Timeline
	upTraffic, destroyTraffic       bucket.Traffic // zero if the state is in a directory
}

type seconds time.Duration

func (s seconds) String() string { return fmt.Sprintf("%.1f", time.Duration(s).Seconds()) }

// setup says where the state is stored, and how it is written.
type setup struct {
	// distance is the time that a bucket takes to answer; zero means a directory instead of a bucket.
	distance time.Duration
	// always are environment variables for all operations, destroy additional ones for the destroy.
	always, destroy []string
}

func measure(ctx context.Context, progress io.Writer, tools toolchain.Toolchain, repo string, nodes int, how setup) (r result, err error) {
	dir, err := os.MkdirTemp("", "eco2-bench-")
	if err != nil {
		return r, fmt.Errorf("making a state directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	options := stack.Options{
		Repo: repo, StateDir: dir, SettingsOf: "dev", Config: map[string]any{"nodes": workers(nodes - 1)}, Environ: how.always,
	}
	what := fmt.Sprintf("%d nodes", nodes)
	traffic := func() bucket.Traffic { return bucket.Traffic{} }
	if how.distance > 0 {
		b, err := bucket.Serve(ctx, how.distance)
		if err != nil {
			return r, err
		}
		defer func() { _ = b.Close() }()
		options.Backend, traffic = b.Environ(), b.Take
		what += " in a bucket"
	}
	s, err := stack.Open(ctx, "bench", tools, options)
	if err != nil {
		return r, err
	}
	traffic()
	if r.up, err = operate(ctx, progress, s, what, "up"); err != nil {
		return r, err
	}
	r.upTraffic = traffic()
	if r.unchanged, err = operate(ctx, progress, s, what, "up", "--expect-no-changes"); err != nil {
		return r, err
	}
	if r.preview, err = operate(ctx, progress, s, what, "preview", "--expect-no-changes"); err != nil {
		return r, err
	}
	state, err := s.Resources(ctx)
	if err != nil {
		return r, err
	}
	r.steps, r.estimatedUp, r.estimatedDestroy = len(state), estimatedUp(state), estimatedDestroy(state)
	options.Environ = slices.Concat(how.always, how.destroy)
	if s, err = stack.Open(ctx, "bench", tools, options); err != nil {
		return r, err
	}
	traffic()
	r.destroy, err = operate(ctx, progress, s, what, "destroy")
	r.destroyTraffic = traffic()
	return r, err
}

// workers distributes n workers over the entries of the node table, and returns the overrides with their counts.
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
