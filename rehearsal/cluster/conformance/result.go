package conformance

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Result is what became of a suite's tests.
type Result struct {
	Suite string
	Took  time.Duration
	// Passed are names of tests, Failed what those say that did not pass, and Skipped what those say that looked at the
	// cluster and left themselves out, by name.
	Passed          []string
	Failed, Skipped map[string]string
	// Left are the names of tests that were not asked to run, by why.
	Left map[string][]string
	// Unrun are the names of tests of which nothing is reported, since the run was interrupted.
	Unrun []string
}

// Err is nil where all tests passed that were asked to run.
func (r Result) Err() error {
	switch {
	case len(r.Failed) > 0:
		return fmt.Errorf("%d of %d tests of the suite %s failed", len(r.Failed), r.ran(), r.Suite)
	case len(r.Unrun) > 0:
		return fmt.Errorf("%d tests of the suite %s did not run", len(r.Unrun), r.Suite)
	case len(r.Passed) == 0:
		return fmt.Errorf("no test of the suite %s passed: all left themselves out", r.Suite)
	}
	return nil
}

func (r Result) ran() int { return len(r.Passed) + len(r.Failed) }

func (r Result) ended() int { return r.ran() + len(r.Skipped) }

// Print writes the figures, and the names behind all of them but the first.
func (r Result) Print(out io.Writer) error {
	w := &writer{out: out}
	w.line("")
	w.line("suite %s of Kubernetes %s, in %s", r.Suite, version, r.Took.Round(time.Second))
	w.line("  passed             %4d", len(r.Passed))
	w.line("  failed             %4d", len(r.Failed))
	w.line("  skipped themselves %4d", len(r.Skipped))
	w.line("  left out           %4d", count(r.Left))
	if len(r.Unrun) > 0 {
		w.line("  not run            %4d", len(r.Unrun))
	}
	w.list("failed", r.Failed)
	w.list("skipped themselves", r.Skipped)
	for _, why := range slices.Sorted(maps.Keys(r.Left)) {
		w.line("\nleft out: %s", why)
		for _, name := range slices.Sorted(slices.Values(r.Left[why])) {
			w.line("  %s", name)
		}
	}
	return w.err
}

func count(left map[string][]string) (n int) {
	for _, names := range left {
		n += len(names)
	}
	return n
}

// writer keeps the first error.
type writer struct {
	out io.Writer
	err error
}

func (w *writer) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

// list writes names, each with the first lines of what is said of it.
func (w *writer) list(title string, said map[string]string) {
	if len(said) > 0 {
		w.line("\n%s:", title)
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		w.line("  %s", name)
		for _, line := range firstLines(said[name], 3) {
			w.line("      %s", line)
		}
	}
}

func firstLines(text string, n int) (lines []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && len(lines) < n {
			lines = append(lines, line)
		}
	}
	return lines
}

// report is what e2e.test writes in JUnit's form, as far as it is looked at.
type report struct {
	Tests []struct {
		Name    string `xml:"name,attr"`
		Status  string `xml:"status,attr"`
		Skipped struct {
			Message string `xml:"message,attr"`
		} `xml:"skipped"`
		Failure string `xml:"failure"`
		Error   string `xml:"error"`
	} `xml:"testsuite>testcase"`
}

// beforeName is what stands before a test's name in a report. Reports of setting up and tearing down have other words.
const beforeName = "[It] "

// add adds what a report says of the tests that were asked to run.
func (r *Result) add(path string, asked []string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading what became of the tests: %w", err)
	}
	defer func() { _ = file.Close() }() // it was read
	var all report
	if err := xml.NewDecoder(file).Decode(&all); err != nil {
		return fmt.Errorf("reading what became of the tests, in %s: %w", path, err)
	}
	if len(all.Tests) == 0 {
		return fmt.Errorf("reading what became of the tests: %s names none", path)
	}
	unrun := map[string]bool{}
	for _, name := range asked {
		unrun[name] = true
	}
	var problems []error
	for _, test := range all.Tests {
		name, isTest := strings.CutPrefix(test.Name, beforeName)
		said := strings.TrimPrefix(test.Skipped.Message, "skipped - ")
		switch {
		case !isTest && (test.Status == "failed" || test.Status == "panicked" || test.Status == "timedout"):
			problems = append(problems, fmt.Errorf("%s: %s", test.Name, strings.Join(firstLines(test.Failure+test.Error, 5), "; ")))
		case !isTest || !unrun[name]:
		case test.Status == "passed":
			r.Passed = append(r.Passed, name)
			delete(unrun, name)
		case test.Status == "skipped" && said != test.Skipped.Message:
			r.Skipped[name] = said
			delete(unrun, name)
		case test.Status == "skipped" || test.Status == "pending": // by an interrupt
		default:
			r.Failed[name] = test.Failure + test.Error
			delete(unrun, name)
		}
	}
	r.Unrun = append(r.Unrun, slices.Sorted(maps.Keys(unrun))...)
	return errors.Join(problems...)
}
