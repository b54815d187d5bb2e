package previewdiff

import (
	"fmt"
	"slices"

	"eco2/rehearsal/engine/cost"
)

// costRow is a row of the cost table: a stack's total, or one of its parts.
type costRow struct {
	name, before, after, difference string
	total                           bool
}

// costRows returns the stacks' monthly costs before and after the change. A stack's parts are included only if one of
// them changes.
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

// same is the difference that is shown for equal costs.
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

// unpriced returns sentences about prices that the table of prices lacks, so that somebody adds them.
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

// basis returns a sentence about the source and the limits of the estimate.
func (r Report) basis() string {
	return fmt.Sprintf("An estimate from the on-demand prices of %s in rehearsal/engine/cost/prices.yaml, dated %s, with %.0f hours a month. It leaves out %s.",
		r.Prices.Region, r.Prices.Date, r.Prices.HoursPerMonth, r.Prices.LeavesOut)
}
