package previewdiff

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/engine/cost"
)

// Outcome is the result of a comparison in one word.
type Outcome string

// The values of Outcome.
const (
	Unchanged Outcome = "unchanged"
	Changed   Outcome = "changed"
	Failed    Outcome = "failed"
)

// Report is the result of a comparison.
type Report struct {
	// Base is the name of the base as given by the user, Commit its full hash.
	Base, Commit string
	// Ahead is how many commits of the base the working tree lacks.
	Ahead int
	// Problem says why no stack could be compared; empty otherwise.
	Problem string
	Stacks  []Stack
	Prices  cost.Prices
}

// Stack is the result of a comparison for one stack.
type Stack struct {
	Name string
	// Problem says why the stack could not be compared; empty otherwise.
	Problem string
	Changes []Change
	// Outputs says that the stack's outputs change.
	Outputs bool
	// Diff is the engine's diff of all properties.
	Diff          string
	Before, After cost.Estimate
}

// Outcome returns the outcome of the whole report, which is Failed if one stack failed.
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

// base returns the base's name for messages: "313b070 (origin/main)".
func (r Report) base() string {
	switch {
	case r.Commit == "":
		return r.Base
	case strings.HasPrefix(r.Commit, r.Base):
		return fmt.Sprintf("%.12s", r.Base)
	}
	return fmt.Sprintf("%.7s (%s)", r.Commit, r.Base)
}

// backwards returns a warning if the comparison contains more than the working tree's own changes.
func (r Report) backwards() string {
	if r.Ahead == 0 {
		return ""
	}
	return fmt.Sprintf("The base has %d commit(s) that the working tree lacks: their changes appear reversed here.", r.Ahead)
}

// totals returns the numbers of a stack's changes: "1 to create, 0 to update, 0 to replace, 0 to delete, 185
// unchanged".
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
	for op, n := range count { // rare operations such as imports
		parts = append(parts, fmt.Sprintf("%d to %s", n, op))
	}
	if s.Outputs {
		parts = append(parts, "outputs change")
	}
	return strings.Join(parts, ", ")
}

// lost returns the changes that remove an existing resource: replacements, then those replacements that follow from
// others, then deletions.
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

// verb returns what happens to the resource of a change returned by lost.
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

// Clear removes an earlier report from a directory, so that an interrupted run does not leave an outdated one. It keeps
// other files.
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

// Write writes the report's files: comment.md for a pull request, full.md for a job's summary, diff.<stack>.txt with
// the complete diff of a stack, and last the file outcome, which has one word.
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
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o644); err != nil { //nolint:gosec // secrets are masked and scrubbed
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	return nil
}
