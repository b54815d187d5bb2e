package previewdiff

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/cost"
)

// Outcome is a comparison in one word.
type Outcome string

// The outcomes.
const (
	Unchanged Outcome = "unchanged"
	Changed   Outcome = "changed"
	Failed    Outcome = "failed"
)

// Report is what a comparison found.
type Report struct {
	// Base is the base as it was named, Commit its full hash.
	Base, Commit string
	// Ahead is how many commits of the base the working tree has not.
	Ahead int
	// Problem is what kept all stacks from being compared.
	Problem string
	Stacks  []Stack
	Prices  cost.Prices
}

// Stack is what a comparison found in one stack.
type Stack struct {
	Name string
	// Problem is what kept it from being compared.
	Problem string
	Changes []Change
	// Outputs says that the stack's outputs change.
	Outputs bool
	// Diff is the engine's text, property by property.
	Diff          string
	Before, After cost.Estimate
}

// Outcome is the whole report's: failed where one stack did.
func (r Report) Outcome() Outcome {
	outcome := Unchanged
	for _, s := range r.Stacks {
		if s.Problem != "" {
			return Failed
		}
		if s.changed() {
			outcome = Changed
		}
	}
	if r.Problem != "" {
		return Failed
	}
	return outcome
}

func (s Stack) changed() bool {
	return s.Outputs || slices.ContainsFunc(s.Changes, func(c Change) bool { return c.Op != "same" })
}

// base names the base for people: "313b070 (origin/main)".
func (r Report) base() string {
	switch {
	case r.Commit == "":
		return r.Base
	case strings.HasPrefix(r.Commit, r.Base):
		return fmt.Sprintf("%.12s", r.Base)
	}
	return fmt.Sprintf("%.7s (%s)", r.Commit, r.Base)
}

// backwards warns where the comparison holds more than the working tree's own changes.
func (r Report) backwards() string {
	if r.Ahead == 0 {
		return ""
	}
	return fmt.Sprintf("The base has %d commit(s) that the working tree has not: what they changed shows backwards here.", r.Ahead)
}

// totals are a stack's changes in numbers: "1 to create, 0 to update, 0 to replace, 0 to delete, 185 unchanged".
func (s Stack) totals() string {
	count := map[string]int{}
	for _, change := range s.Changes {
		count[change.Op]++
	}
	var parts []string
	for _, op := range []string{"create", "update", "replace", "delete"} {
		parts = append(parts, fmt.Sprintf("%d to %s", count[op], op))
		delete(count, op)
	}
	parts = append(parts, fmt.Sprintf("%d unchanged", count["same"]))
	delete(count, "same")
	for op, n := range count { // imports and their like, one at a time if ever
		parts = append(parts, fmt.Sprintf("%d to %s", n, op))
	}
	if s.Outputs {
		parts = append(parts, "outputs change")
	}
	return strings.Join(parts, ", ")
}

// lost are the replacements and then the deletions: what takes something away that exists. What is replaced
// for another's sake comes after all others.
func (s Stack) lost() []Change {
	var causes, followers, deleted []Change
	for _, change := range s.Changes {
		switch {
		case change.Op == "replace" && change.Follows:
			followers = append(followers, change)
		case change.Op == "replace":
			causes = append(causes, change)
		case change.Op == "delete":
			deleted = append(deleted, change)
		}
	}
	return slices.Concat(causes, followers, deleted)
}

// verb is what happens to a lost resource.
func (c Change) verb() string {
	if c.Op == "replace" {
		return "replaced"
	}
	return "deleted"
}

// Names of the files of a report.
const (
	commentFile = "comment.md"
	fullFile    = "full.md"
	outcomeFile = "outcome"
)

func diffFile(stack string) string { return "diff." + stack + ".txt" }

// Clear removes an earlier report from a directory: a run that is cut short leaves none.
func Clear(dir string) error {
	diffs, err := filepath.Glob(filepath.Join(dir, diffFile("*")))
	if err != nil {
		return fmt.Errorf("looking for the last report: %w", err)
	}
	for _, name := range []string{commentFile, fullFile, outcomeFile} {
		diffs = append(diffs, filepath.Join(dir, name))
	}
	for _, path := range diffs {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing the last report: %w", err)
		}
	}
	return nil
}

// Write writes the report's files: comment.md for a pull request, full.md for a job's summary, diff.<stack>.txt
// with everything, and last outcome, one word.
func (r Report) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	type file struct{ name, text string }
	var files []file
	for _, s := range r.Stacks {
		if s.Diff != "" {
			files = append(files, file{diffFile(s.Name), s.Diff})
		}
	}
	files = append(files,
		file{fullFile, r.Markdown(SummaryLimit)},
		file{commentFile, r.Markdown(CommentLimit)},
		file{outcomeFile, string(r.Outcome()) + "\n"})
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o644); err != nil { //nolint:gosec // masked, and scrubbed
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
