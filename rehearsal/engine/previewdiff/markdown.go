package previewdiff

import (
	"fmt"
	"strings"
)

// Marker is the first line of a comment, which GitHub does not show. With it a workflow finds the comment of the last
// push, and overwrites it.
const Marker = "<!-- eco2-preview -->"

// GitHub refuses a comment of more than 65,536 characters and a job's summary of more than 1 MiB. These limits are in
// bytes: there are never fewer bytes than characters, however those are counted.
const (
	CommentLimit = 65_000
	SummaryLimit = 1_000_000
)

// mostLost is how many replacements and deletions of a stack are listed. The diff has all of them.
const mostLost = 40

// Markdown returns the report for GitHub, of at most limit bytes. If it is too long, the stacks' diffs are cut at the
// end of a line, with a note.
func (r Report) Markdown(limit int) string {
	head := r.head(limit)
	blocks := r.blocks(limit - len(head))
	text := head + strings.Join(blocks, "")
	if len(text) <= limit {
		return text
	}
	// Only with very many stacks.
	const note = "\n\nThis comment was cut: it names too many stacks.\n"
	return cut(text, limit-len(note)) + note
}

// head returns everything except the diffs.
func (r Report) head(limit int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### Preview: what this changes in the stacks\n\n", Marker)
	if r.Problem != "" {
		b.WriteString("**The preview failed.**\n\n" + fenced(cut(r.Problem, limit/2)))
		return b.String()
	}
	if r.Outcome() == Unchanged {
		b.WriteString("**Nothing changes.** ")
	}
	fmt.Fprintf(&b, "Compared with %s, in a model of AWS: nothing real was asked or touched.\n\n", code(r.base()))
	for _, s := range r.Stacks {
		if s.Problem != "" {
			fmt.Fprintf(&b, "- **%s**: the preview failed\n", s.Name)
		} else {
			fmt.Fprintf(&b, "- **%s**: %s\n", s.Name, s.totals())
		}
	}
	if note := r.backwards(); note != "" {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	for _, s := range r.Stacks {
		if s.Problem != "" {
			fmt.Fprintf(&b, "\n**Why %s failed**\n\n%s", s.Name, fenced(cut(s.Problem, limit/2/len(r.Stacks))))
		}
	}
	for _, s := range r.Stacks {
		lost := s.lost()
		if len(lost) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**Replaced or deleted in %s**\n\n", s.Name)
		for i, change := range lost {
			if i == mostLost {
				fmt.Fprintf(&b, "- and %d more, in the diff below\n", len(lost)-mostLost)
				break
			}
			fmt.Fprintf(&b, "- %s %s: %s\n", change.verb(), code(change.String()), change.Why)
		}
	}
	b.WriteString(r.costTable())
	return b.String()
}

func (r Report) costTable() string {
	rows := r.costRows()
	if len(rows) == 0 || r.Outcome() == Unchanged {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n| %s a month | before | after | difference |\n|---|--:|--:|--:|\n", r.Prices.Currency)
	for _, row := range rows {
		if row.total {
			fmt.Fprintf(&b, "| **%s** | **%s** | **%s** | **%s** |\n", row.name, row.before, row.after, row.difference)
		} else {
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.name, row.before, row.after, row.difference)
		}
	}
	for i, sentence := range r.unpriced() {
		if i == 0 {
			b.WriteString("\n")
		}
		if i == mostLost {
			b.WriteString("- and more\n")
			break
		}
		fmt.Fprintf(&b, "- %s\n", sentence)
	}
	fmt.Fprintf(&b, "\n<sub>%s</sub>\n", r.basis())
	return b.String()
}

// blocks returns the stacks' diffs as folded blocks of at most room bytes in total. Each gets an equal share, and what
// a smaller one does not need is shared by the others.
func (r Report) blocks(room int) []string {
	var open []Stack
	for _, s := range r.Stacks {
		if s.changed() {
			open = append(open, s)
		}
	}
	blocks := make([]string, len(open))
	waiting := len(open)
	for waiting > 0 {
		share, before := room/waiting, waiting
		for i, s := range open {
			if whole := block(s, s.Diff); blocks[i] == "" && len(whole) <= share {
				blocks[i] = whole
				room -= len(whole)
				waiting--
			}
		}
		if waiting == before { // each remaining one is larger than its share
			for i, s := range open {
				if blocks[i] == "" {
					blocks[i] = block(s, cut(s.Diff, share-len(block(s, ""))))
				}
			}
			break
		}
	}
	return blocks
}

// block returns a folded block with a part of a stack's diff.
func block(s Stack, shown string) string {
	note := ""
	if shown != s.Diff {
		note = fmt.Sprintf("\nCut: %d of %d lines are here. The job's summary has more of them, %s in its artifact all.\n",
			strings.Count(shown, "\n"), strings.Count(s.Diff, "\n"), code(diffFile(s.Name)))
	}
	fence := fenceFor(s.Diff)
	return fmt.Sprintf("\n<details><summary>The diff of %s</summary>\n\n%s\n%s\n%s\n%s\n</details>\n",
		s.Name, fence, strings.TrimRight(shown, "\n"), fence, note)
}

// cut returns the first whole lines of a text, of at most so many bytes.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:strings.LastIndexByte(text[:max(most, 0)], '\n')+1]
}

// fenceFor returns a code fence that is longer than any run of backticks in a text, so that no line closes it.
func fenceFor(text string) string {
	longest, run := 2, 0
	for _, c := range text {
		if c != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return strings.Repeat("`", longest+1)
}

func fenced(text string) string {
	fence := fenceFor(text)
	return fmt.Sprintf("%s\n%s\n%s\n", fence, strings.TrimRight(text, "\n"), fence)
}

// code returns a short text as a Markdown code span.
func code(text string) string { return "`" + strings.ReplaceAll(text, "`", "'") + "`" }
