package previewdiff

import (
	"fmt"
	"slices"

	"eco2/rehearsal/cost"
)

// costRow is a line of the table of costs: a stack's total, or one of its parts.
type costRow struct {
	name, before, after, difference string
	total                           bool
}

// costRows are the stacks' costs a month before and after; the parts of one only where it changes.
func (r Report) costRows() []costRow {
	var rows []costRow
	for _, s := range r.Stacks {
		if s.Problem != "" {
			continue
		}
		total := row(s.Name, s.Before.Total(), s.After.Total())
		total.total = true
		var parts []costRow
		for _, part := range cost.Parts {
			before, after := s.Before.Parts[part], s.After.Parts[part]
			if before != (cost.Amount{}) || after != (cost.Amount{}) {
				parts = append(parts, row(string(part), before, after))
			}
		}
		rows = append(rows, total)
		if slices.ContainsFunc(parts, func(r costRow) bool { return r.difference != same }) {
			rows = append(rows, parts...)
		}
	}
	return rows
}

// same is the difference of what costs the same.
const same = "0"

func row(name string, before, after cost.Amount) costRow {
	difference := fmt.Sprintf("%+.2f", after.Monthly-before.Monthly)
	switch {
	case before.Incomplete || after.Incomplete:
		difference = "unknown"
	case difference == "+0.00" || difference == "-0.00":
		difference = same
	}
	return costRow{name: name, before: money(before), after: money(after), difference: difference}
}

func money(a cost.Amount) string {
	if a.Incomplete {
		return fmt.Sprintf("%.2f, incomplete", a.Monthly)
	}
	return fmt.Sprintf("%.2f", a.Monthly)
}

// unpriced says what the table of prices lacks, for people to put it there.
func (r Report) unpriced() []string {
	var sentences []string
	for _, s := range r.Stacks {
		for _, sentence := range slices.Concat(s.Before.Unpriced, s.After.Unpriced) {
			sentences = append(sentences, s.Name+": "+sentence)
		}
	}
	slices.Sort(sentences)
	return slices.Compact(sentences)
}

// basis says what kind of numbers these are.
func (r Report) basis() string {
	return fmt.Sprintf("An estimate from the on-demand prices of %s in rehearsal/cost/prices.yaml, dated %s, with %.0f hours a month. It leaves out %s.",
		r.Prices.Region, r.Prices.Date, r.Prices.HoursPerMonth, r.Prices.LeavesOut)
}
