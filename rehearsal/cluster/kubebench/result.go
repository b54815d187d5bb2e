package kubebench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Result is what kube-bench found on a machine.
type Result struct {
	Role Role
	// Passed counts the automated checks that passed. Accepted are those that failed on purpose, and why. Failed are all
	// others.
	Passed           int
	Accepted, Failed []Finding
	// Obsolete are the IDs of accepted failures that did not fail.
	Obsolete []string
	// Manual counts the checks that a person must decide, and Recommended those among them for which kube-bench found the
	// recommended setting. Those about objects in the API are not counted.
	Manual, Recommended int
}

// Finding is a check that failed.
type Finding struct {
	ID, Text string
	// Why is the reason for which the failure is accepted, or what kube-bench found.
	Why string
}

// Err is nil if exactly the accepted checks failed.
func (r Result) Err() error {
	var problems []error
	for _, f := range r.Failed {
		problems = append(problems, fmt.Errorf("check %s failed on the %s: %s\n%s", f.ID, r.Role, f.Text, f.Why))
	}
	for _, id := range r.Obsolete {
		problems = append(problems, fmt.Errorf("check %s did not fail on the %s; remove it from "+
			"rehearsal/cluster/kubebench/accepted.go", id, r.Role))
	}
	return errors.Join(problems...)
}

// Print writes the figures, the accepted failures with their reasons, and what else failed.
func (r Result) Print(out io.Writer) error {
	var text strings.Builder
	line := func(format string, args ...any) {
		_, _ = fmt.Fprintf(&text, format+"\n", args...) // a Builder returns no error
	}
	line("\n%s: %s of kube-bench %s", r.Role, benchmark, version)
	line("  passed                %4d", r.Passed)
	line("  failed                %4d", len(r.Failed))
	line("  failed, as accepted   %4d", len(r.Accepted))
	line("  to decide by a person %4d, of which %d are set as recommended", r.Manual, r.Recommended)
	for _, list := range []struct {
		title    string
		findings []Finding
	}{{"failed", r.Failed}, {"failed, as accepted", r.Accepted}} {
		if len(list.findings) > 0 {
			line("\n%s:", list.title)
		}
		for _, f := range list.findings {
			line("  %s %s\n    %s", f.ID, f.Text, strings.ReplaceAll(f.Why, "\n", "\n    "))
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// report is what kube-bench prints with --json, as far as it is read here.
type report struct {
	Controls []struct {
		Version string
		Tests   []struct{ Results []check }
	}
}

// check is a check in a report.
type check struct {
	ID     string `json:"test_number"`
	Text   string `json:"test_desc"`
	Status string
	// Scored is set for the automated checks.
	Scored bool
	// Actual is what the check's command printed. Reason is set if it could not be run.
	Actual string `json:"actual_value"`
	Reason string
}

const passed = "PASS"

// read returns the checks of all reports.
func read(output []byte) (checks []check, err error) {
	for decoder := json.NewDecoder(bytes.NewReader(output)); decoder.More(); {
		var all report
		if err := decoder.Decode(&all); err != nil {
			return nil, err
		}
		for _, controls := range all.Controls {
			if controls.Version != benchmark {
				return nil, fmt.Errorf("it is about the benchmark %q, and not about %s", controls.Version, benchmark)
			}
			for _, group := range controls.Tests {
				checks = append(checks, group.Results...)
			}
		}
	}
	if !slices.ContainsFunc(checks, func(c check) bool { return c.Scored }) {
		return nil, errors.New("it ran no automated check")
	}
	return checks, nil
}

// assess reads the reports of all runs on a machine, and compares them with the list of accepted failures.
func assess(output []byte, role Role, list []acceptedFailure) (Result, error) {
	checks, err := read(output)
	if err != nil {
		return Result{}, fmt.Errorf("reading what kube-bench found: %w", err)
	}
	r := Result{Role: role}
	failed := map[string]bool{}
	for _, c := range checks {
		accepted := slices.IndexFunc(list, func(a acceptedFailure) bool { return a.id == c.ID && a.role == role })
		switch {
		case !c.Scored:
			r.Manual++
			if c.Status == passed {
				r.Recommended++
			}
		case c.Status == passed:
			r.Passed++
		case accepted >= 0:
			failed[c.ID] = true
			if others := list[accepted].others(c); len(others) > 0 {
				r.Failed = append(r.Failed, Finding{c.ID, c.Text, strings.Join(others, "\n")})
			} else {
				r.Accepted = append(r.Accepted, Finding{c.ID, c.Text, list[accepted].reason})
			}
		default:
			r.Failed = append(r.Failed, Finding{c.ID, c.Text, strings.TrimSpace(c.Actual + "\n" + c.Reason)})
		}
	}
	for _, a := range list {
		if a.role == role && !failed[a.id] {
			r.Obsolete = append(r.Obsolete, a.id)
		}
	}
	return r, nil
}

// notCompliant matches the lines that checks print about objects that do not comply.
var notCompliant = regexp.MustCompile(`compliant: false|, automountServiceAccountToken: (true|notset)`)

// others returns what failed in a check besides what is accepted.
func (a acceptedFailure) others(c check) (lines []string) {
	if len(a.only) == 0 {
		return nil
	}
	found := false
	for line := range strings.Lines(c.Actual) {
		if !notCompliant.MatchString(line) {
			continue
		}
		found = true
		if !slices.ContainsFunc(a.only, func(text string) bool { return strings.Contains(line, text) }) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if !found {
		// The check's command itself failed.
		lines = append(lines, strings.TrimSpace(c.Actual+"\n"+c.Reason))
	}
	return lines
}
