package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Run is one run of a suite.
type Run struct {
	Tests Tests
	Suite Suite
	// Focus is a regular expression for the names of tests; empty is all of the suite.
	Focus string
	// Kubectl and Kubeconfig are a kubectl of the cluster's version and its administrator's access.
	Kubectl, Kubeconfig string
	// Procs is how many tests run side by side.
	Procs int
	// AllWorkers lifts the workers' taints meanwhile, so that the tests' pods run on all of them. Otherwise they run on
	// those that have none.
	AllWorkers bool
	// Dir is for reports, logs, and the taints while they are lifted.
	Dir string
	// Out is for progress.
	Out io.Writer
}

const (
	// endLimit is how long tests may take to clean up when they are interrupted.
	endLimit = 5 * time.Minute
	// cleanLimit is how long what they leave may take to go.
	cleanLimit = 10 * time.Minute
	// reportEvery is how often progress is reported.
	reportEvery = 30 * time.Second
)

// Start runs the suite. The cluster is as it was before when it returns: also where the context ends, of which it says
// what became of the tests until then. A test that fails is part of the result, and no error.
func (r Run) Start(ctx context.Context) (result Result, err error) {
	names, err := r.Tests.Names(ctx)
	if err != nil {
		return Result{}, err
	}
	plan, err := r.Suite.plan(names, r.Focus)
	if err != nil {
		return Result{}, err
	}
	c := cluster{kubectlPath: r.Kubectl, kubeconfig: r.Kubeconfig}
	if err := c.removeNamespaces(ctx); err != nil {
		return Result{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
		defer cancel()
		err = errors.Join(err, c.removeNamespaces(ctx))
	}()
	// Of a run that was killed.
	taints := filepath.Join(r.Dir, "taints.json")
	if err := c.restoreTaints(ctx, taints); err != nil {
		return Result{}, err
	}
	workers, err := c.workers(ctx)
	if err != nil {
		return Result{}, err
	}
	closed := tainted(workers)
	if r.AllWorkers && len(closed) > 0 {
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
			defer cancel()
			err = errors.Join(err, c.restoreTaints(ctx, taints))
		}()
		if err := c.liftTaints(ctx, closed, taints); err != nil {
			return Result{}, err
		}
		r.say("the taints of %d workers are lifted until the tests end", len(closed))
		closed = nil
	}
	room := room{open: len(workers) - len(closed), closed: len(closed) + 1} // the control plane's node is closed too
	r.say("%d tests run, %d of them alone; %d are left out", plan.count(), len(plan.alone), count(plan.left))

	result = Result{Suite: r.Suite.Name, Failed: map[string]string{}, Skipped: map[string]string{}, Left: plan.left}
	started := time.Now()
	for _, pass := range []struct {
		name  string
		tests []string
		procs int
	}{{"parallel", plan.parallel, r.Procs}, {"alone", plan.alone, 1}} {
		switch {
		case len(pass.tests) == 0:
		case ctx.Err() != nil:
			result.Unrun = append(result.Unrun, pass.tests...)
		default:
			stop := r.report(r.logName(pass.name), started, result.ended(), plan.count())
			err = errors.Join(err, r.pass(ctx, &result, pass.name, pass.tests, pass.procs, room))
			stop()
		}
	}
	result.Took = time.Since(started)
	return result, errors.Join(ctx.Err(), err)
}

// logName is where the tests' output goes in a pass.
func (r Run) logName(pass string) string {
	return filepath.Join(r.Dir, r.Suite.Name+"-"+pass, "log")
}

func (r Run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Out, format+"\n", args...)
}

// room is how many nodes take pods of the tests, and how many do not.
type room struct{ open, closed int }

// pass runs tests side by side, or one by one, and adds what becomes of them to the result.
func (r Run) pass(ctx context.Context, result *Result, name string, tests []string, procs int, nodes room) error {
	logName := r.logName(name)
	dir := filepath.Dir(logName)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the last run's reports: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the directory of the reports: %w", err)
	}
	log, err := os.Create(logName)
	if err != nil {
		return fmt.Errorf("making the tests' log: %w", err)
	}
	defer func() { _ = log.Close() }() // the report is what counts
	r.say("what the tests say is in %s", logName)

	cmd := exec.CommandContext(ctx, r.Tests.ginkgo, "run", fmt.Sprintf("--procs=%d", procs), "--focus="+expression(tests),
		"--no-color", "--timeout=12h", "--silence-skips", r.Tests.e2e, "--",
		"--kubeconfig="+r.Kubeconfig, "--kubectl-path="+r.Kubectl, "--provider=skeleton", "--repo-root=",
		// Of the processes side by side only the first would count the nodes, and the others skip what needs two.
		fmt.Sprintf("--num-nodes=%d", nodes.open), fmt.Sprintf("--allowed-not-ready-nodes=%d", nodes.closed),
		"--system-pods-startup-timeout=5m", "--node-schedulable-timeout=5m",
		"--report-dir="+dir, "--e2e-output-dir="+dir, "--disable-log-dump")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// One interrupt for all of them, as a terminal sends: ginkgo passes none on, and a second would end the cleaning up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		r.say("interrupted: the tests that run clean up behind them")
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	cmd.WaitDelay = endLimit
	runErr := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever outlived ginkgo
	}
	err = result.add(filepath.Join(dir, "junit_01.xml"), tests)
	var exit *exec.ExitError
	if err != nil || (runErr != nil && !errors.As(runErr, &exit)) {
		return fmt.Errorf("running the tests of the suite %s: %w; see %s", r.Suite.Name, errors.Join(runErr, err), logName)
	}
	return nil
}

// endMark is the text that ginkgo logs when a test ends.
const endMark = "•"

// failure matches the lines that ginkgo writes for a test that failed; the second is the test's name.
var failure = regexp.MustCompile(endMark + ` \[(?:FAILED|PANICKED|TIMEDOUT)\] .*\n(.*)\n`)

// readLog reads a log of ginkgo's: how many tests have ended, and the names of those that failed.
func readLog(log string) (ended int, failed []string) {
	for _, match := range failure.FindAllStringSubmatch(log, -1) {
		failed = append(failed, match[1])
	}
	return strings.Count(log, endMark), failed
}

// report reports progress until it is stopped: what the log of a pass says, after so many tests of earlier passes.
func (r Run) report(logName string, started time.Time, before, total int) (stop func()) {
	ticker, stopped := time.NewTicker(reportEvery), make(chan struct{})
	go func() {
		reported := 0
		for {
			select {
			case <-stopped:
				return
			case <-ticker.C:
			}
			log, err := os.ReadFile(logName)
			if err != nil {
				continue // the next report may have it
			}
			ended, failed := readLog(string(log))
			for _, name := range failed[min(reported, len(failed)):] {
				r.say("failed: %s", name)
			}
			reported = len(failed)
			r.say("%d of %d tests ended, %s", before+ended, total, time.Since(started).Round(time.Second))
		}
	}()
	return func() {
		ticker.Stop()
		close(stopped)
	}
}
