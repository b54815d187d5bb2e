package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/setup"
)

const (
	// shownSteps is how many steps of a critical path are shown: as many as fit into about two lines.
	shownSteps = 6
	// lineWidth is the width at which those lines are broken.
	lineWidth = 110
)

// criticalPath returns the longest steps of the critical path in a few lines or, if verbose, a line for each step.
func criticalPath(t timeline.Timeline, verbose bool) string {
	critical := t.Critical()
	if verbose {
		text := fmt.Sprintf("\nThe critical path of %s:\n", t.Took)
		for _, step := range critical {
			text += fmt.Sprintf("  %6s  %6s  %s\n", step.Start, step.End, step.Label())
		}
		return text
	}
	// A step's share of the path is the time between the end of the step before it and its own.
	type share struct {
		step int
		took time.Duration
	}
	var shares []share
	var end time.Duration
	for i, step := range critical {
		shares = append(shares, share{i, step.End - end})
		end = step.End
	}
	slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(b.took, a.took) })
	longest, rest := shares[:min(shownSteps, len(shares))], shares[min(shownSteps, len(shares)):]
	slices.SortFunc(longest, func(a, b share) int { return cmp.Compare(a.step, b.step) })

	parts := make([]string, 0, shownSteps+1)
	for _, s := range longest {
		parts = append(parts, fmt.Sprintf("%s %s", critical[s.step].Label(), s.took))
	}
	if len(rest) > 0 {
		var took time.Duration
		for _, s := range rest {
			took += s.took
		}
		parts = append(parts, fmt.Sprintf("%d shorter steps %s", len(rest), took))
	}
	return "\n" + wrapped(fmt.Sprintf("The critical path of %s:", t.Took), parts)
}

// wrapped joins the parts behind a title, in lines of at most lineWidth where the parts are not longer.
func wrapped(title string, parts []string) string {
	var text strings.Builder
	text.WriteString(title)
	width := len(title)
	for i, part := range parts {
		if i < len(parts)-1 {
			part += ","
		}
		if width+1+len(part) > lineWidth {
			text.WriteString("\n ")
			width = 1
		}
		text.WriteString(" " + part)
		width += 1 + len(part)
	}
	return text.String() + "\n"
}

// next returns what is printed when a stack is up: how long the whole command took, and what to do next.
func (r *run) next(took time.Duration) string {
	machines := "containers on this host"
	commands := []string{r.command("status"), r.command("kubectl", "ARGS='get nodes'"), r.command("ssh", "NODE=k8s-master"), r.command("destroy")}
	if r.level == setup.Simulate {
		machines = "models, and so is the cluster"
		commands = []string{r.command("status"), r.command("kubectl", "ARGS='get ingresses -A'"), r.command("destroy")}
	}
	return wrapped(fmt.Sprintf("Stack %s is up after %s. Its machines are %s. Next:", r.name, took.Round(time.Second), machines), commands)
}

// command returns a make command for the user, with the variables by which it finds this stack.
func (r *run) command(target string, variables ...string) string {
	words := []string{"make", target}
	if r.level != setup.Rehearse {
		words = append(words, "LEVEL="+string(r.level))
	}
	if r.plugins != toolchain.StandInPlugins {
		words = append(words, "PLUGINS="+string(r.plugins))
	}
	if r.name != "local" {
		words = append(words, "STACK="+r.name)
	}
	return "`" + strings.Join(append(words, variables...), " ") + "`"
}
