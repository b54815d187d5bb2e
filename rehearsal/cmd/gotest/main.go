// Command gotest runs `go test`, and reports durations and skipped tests. It prints a line for each package and each
// failure as they happen, and at the end a table of the packages, the slowest tests, each skipped test with its reason,
// each failure again, and the counts. It fails if a test is skipped without an expected reason.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"gotest.tools/gotestsum/testjson"

	"eco2/rehearsal/internal/needs"
)

func main() {
	code, err := run(os.Args[1:], os.Stdout, expectedSkips(os.Geteuid() == 0, os.Args[1:]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// expectedSkips returns the beginnings of the reasons for which a test may be skipped: missing plugins of Pulumi, no
// version to upgrade to, missing root, and -short. With -run there are none, as tests that are selected by name must run.
func expectedSkips(root bool, args []string) []string {
	if slices.Contains(args, "-run") {
		return nil
	}
	reasons := []string{needs.OfficialReason, needs.UpgradeReason}
	if !root {
		reasons = append(reasons, needs.RootReason)
	}
	if slices.Contains(args, "-short") {
		reasons = append(reasons, needs.ShortReason)
	}
	return reasons
}

// run runs `go test` with these arguments, and returns the exit code for this command.
func run(args []string, out io.Writer, expected []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	test := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	test.Cancel = func() error { return test.Process.Signal(os.Interrupt) }
	stdout, err := test.StdoutPipe()
	if err != nil {
		return 1, err
	}
	stderr, err := test.StderrPipe()
	if err != nil {
		return 1, err
	}
	if err := test.Start(); err != nil {
		return 1, fmt.Errorf("starting go test: %w", err)
	}
	unexpected, err := report(stdout, stderr, out, expected)
	if err != nil {
		stop() // nobody reads the output any more, so the tests would block
		return 1, errors.Join(fmt.Errorf("reading the output of go test: %w", err), test.Wait())
	}
	var failed *exec.ExitError
	if err := test.Wait(); errors.As(err, &failed) {
		return max(failed.ExitCode(), 1), nil
	} else if err != nil {
		return 1, fmt.Errorf("running go test: %w", err)
	}
	if len(unexpected) > 0 {
		return 1, fmt.Errorf("%d tests or packages were skipped that should have run here:\n  %s", len(unexpected), strings.Join(unexpected, "\n  "))
	}
	return 0, nil
}

// report formats the output of `go test -json`. It returns the skipped tests whose reason is not an expected one, and
// the packages that passed without running any of their tests, which a TestMain can cause silently.
func report(stdout, stderr io.Reader, out io.Writer, expected []string) (unexpected []string, err error) {
	tests, err := testjson.ScanTestOutput(testjson.ScanConfig{
		Stdout: stdout, Stderr: stderr, IgnoreNonJSONOutputLines: true,
		Handler: &printer{out, testjson.NewEventFormatter(out, "pkgname-and-test-fails", testjson.FormatOptions{
			HideEmptyPackages: true, Icons: "text",
		})},
	})
	if err != nil {
		return nil, err
	}
	if err := table(out, tests); err != nil {
		return nil, err
	}
	testjson.PrintSummary(out, tests, testjson.SummarizeAll)
	failures(out, tests)
	passed := 0
	for _, name := range tests.Packages() {
		p := tests.Package(name)
		passed += len(p.Passed)
		if p.Result() == testjson.ActionPass && p.Total == 0 {
			unexpected = append(unexpected, name+": none of its tests ran")
		}
	}
	// CI systems look for a line in this format.
	_, err = fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, len(tests.Failed()), len(tests.Skipped()))
	for _, skipped := range tests.Skipped() {
		reason := reasonOf(tests.OutputLines(skipped))
		if !slices.ContainsFunc(expected, func(begins string) bool { return strings.HasPrefix(reason, begins) }) {
			unexpected = append(unexpected, fmt.Sprintf("%s %s: %s", skipped.Package, skipped.Test, reason))
		}
	}
	return unexpected, err
}

// listed is how many of the slowest tests are named at the end.
const listed = 20

// table prints the duration of each package, and the slowest tests. For a test with subtests it lists only these, as
// the test's own time includes theirs.
func table(out io.Writer, tests *testjson.Execution) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var cases []testjson.TestCase
	_, _ = fmt.Fprint(w, "\npackage\ttests\tskipped\tseconds\n")
	for _, name := range tests.Packages() {
		p := tests.Package(name)
		if p.Total == 0 {
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\n", name, p.Total, len(p.Skipped), p.Elapsed().Seconds())
		all := p.TestCases()
		parents := map[string]bool{}
		for _, c := range all {
			for name := c.Test.Name(); strings.Contains(name, "/"); parents[name] = true {
				name = name[:strings.LastIndex(name, "/")]
			}
		}
		for _, c := range all {
			if !parents[c.Test.Name()] {
				cases = append(cases, c)
			}
		}
	}
	_, _ = fmt.Fprint(w, "\nslowest tests\t\t\tseconds\n")
	slices.SortFunc(cases, func(a, b testjson.TestCase) int { return cmp.Compare(b.Elapsed, a.Elapsed) })
	for _, c := range cases[:min(listed, len(cases))] {
		_, _ = fmt.Fprintf(w, "%s %s\t\t\t%.1f\n", c.Package, c.Test, c.Elapsed.Seconds())
	}
	_, _ = fmt.Fprintln(w)
	return w.Flush()
}

// failures lists the failed tests once more, each with the beginning of its error, as the last thing in the log: of a
// long log, some CI systems keep only the end. A test with a failed subtest is left out.
func failures(out io.Writer, tests *testjson.Execution) {
	failed := tests.Failed()
	for _, test := range failed {
		if slices.ContainsFunc(failed, func(other testjson.TestCase) bool {
			return other.Package == test.Package && strings.HasPrefix(other.Test.Name(), test.Test.Name()+"/")
		}) {
			continue
		}
		_, _ = fmt.Fprintf(out, "\nfailed: %s %s\n%s\n", test.Package, test.Test, excerpt(tests.OutputLines(test)))
	}
}

// excerptLength is how many bytes of a failed test's output are repeated: a few of them fit in the last 2 KB of a log.
const excerptLength = 600

// excerpt returns the part of a failed test's output that most likely says why: what follows testify's last "Error:",
// or else the end of the output.
func excerpt(output []string) string {
	text := strings.TrimSpace(strings.Join(output, ""))
	if i := strings.LastIndex(text, "Error:"); i >= 0 {
		text = text[i:]
		return strings.ToValidUTF8(text[:min(excerptLength, len(text))], "")
	}
	return strings.ToValidUTF8(text[max(0, len(text)-excerptLength):], "")
}

// reasonOf returns the argument of a test's t.Skip: the last line of its output that begins with a file and a line
// number.
func reasonOf(output []string) string {
	for _, line := range slices.Backward(output) {
		where, reason, found := strings.Cut(strings.TrimSpace(line), ": ")
		if found && strings.Contains(where, ".go:") {
			return reason
		}
	}
	return "no reason given"
}

// printer prints events as they happen.
type printer struct {
	out    io.Writer
	format testjson.EventFormatter
}

func (p *printer) Event(event testjson.TestEvent, tests *testjson.Execution) error {
	return p.format.Format(event, tests)
}

func (p *printer) Err(text string) error {
	_, err := fmt.Fprintln(p.out, text)
	return err
}
