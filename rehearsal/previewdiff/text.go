package previewdiff

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Text writes the report for a terminal.
func (r Report) Text(w io.Writer) error {
	var b strings.Builder
	if r.Problem != "" {
		fmt.Fprintf(&b, "The preview failed: %s\n", r.Problem)
		_, err := io.WriteString(w, b.String())
		return err
	}
	for _, s := range r.Stacks {
		if s.Problem != "" {
			fmt.Fprintf(&b, "%s: the preview failed. %s\n", s.Name, s.Problem)
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", s.Name, s.totals())
	}
	if note := r.backwards(); note != "" {
		fmt.Fprintf(&b, "%s\n", note)
	}
	if r.Outcome() == Unchanged {
		fmt.Fprintf(&b, "Nothing changes against %s.\n", r.base())
		_, err := io.WriteString(w, b.String())
		return err
	}
	for _, s := range r.Stacks {
		for _, change := range s.lost() {
			fmt.Fprintf(&b, "%s: %s %s: %s\n", s.Name, change.verb(), change, change.Why)
		}
	}
	if rows := r.costRows(); len(rows) > 0 {
		b.WriteString("\n")
		table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		_, _ = fmt.Fprintf(table, "%s a month\tbefore\tafter\tdifference\t\n", r.Prices.Currency)
		for _, row := range rows {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t\n", row.name, row.before, row.after, row.difference)
		}
		_ = table.Flush() // into memory
		for _, sentence := range r.unpriced() {
			fmt.Fprintf(&b, "%s\n", sentence)
		}
		fmt.Fprintf(&b, "%s\n", r.basis())
	}
	for _, s := range r.Stacks {
		if s.changed() {
			fmt.Fprintf(&b, "\n%s\n", s.Diff)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
