package previewdiff

import (
	"fmt"
	"io"
	"strings"
)

// Text writes the report as plain text, for a terminal.
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
		const columns = "%-28s%20s%20s%12s\n"
		fmt.Fprintf(&b, columns, r.Prices.Currency+" a month", "before", "after", "difference")
		for _, row := range rows {
			name := row.name
			if !row.total {
				name = "  " + name
			}
			fmt.Fprintf(&b, columns, name, row.before, row.after, row.difference)
		}
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
