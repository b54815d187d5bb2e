// Package previewdiff says what a checkout of the project would change in its stacks, against another
// commit: that one's program is brought up in a model, and the checkout's is previewed on what it left.
package previewdiff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"eco2/rehearsal/cost"
	"eco2/rehearsal/stack"
	"eco2/rehearsal/toolchain"
)

// Options say what is compared.
type Options struct {
	// Repo is the project's checkout: its files as they are, committed or not.
	Repo string
	// Base is the other commit, by any name that git knows.
	Base string
	// Stacks are the names of the stacks.
	Stacks []string
	// Tools prepares the checkout's program, and the engine and stand-ins for both.
	Tools func(context.Context) (toolchain.Toolchain, error)
	// Progress gets a line for each thing done, with the seconds it took.
	Progress io.Writer
}

// Run compares. What is wrong with the base, the checkout or a stack is part of the report, where people
// read it; the error is for what says nothing about them, like an interrupt.
func Run(ctx context.Context, o Options) (report Report, err error) {
	prices, err := cost.Load()
	if err != nil {
		return report, err
	}
	report = Report{Base: o.Base, Prices: prices}
	dir, err := os.MkdirTemp("", "eco2-preview-diff-")
	if err != nil {
		return report, fmt.Errorf("making a directory for the base and its state: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Git names a worktree by its real path.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return report, fmt.Errorf("making a directory for the base and its state: %w", err)
	}
	progress := log.New(o.Progress, "", 0)

	fail := func(err error) (Report, error) {
		report.Problem = err.Error()
		return report, ctx.Err()
	}
	commit, err := resolve(ctx, o.Repo, o.Base)
	if err != nil {
		return fail(err)
	}
	report.Commit, report.Ahead = commit, ahead(ctx, o.Repo, commit)
	progress.Printf("comparing the working tree with %s, stacks %s", report.base(), strings.Join(o.Stacks, ", "))
	project, remove, err := checkOut(ctx, o.Repo, commit, filepath.Join(dir, "base"))
	defer func() { err = errors.Join(err, remove()) }()
	if err != nil {
		return fail(err)
	}

	started := time.Now()
	head, err := o.Tools(ctx)
	if err != nil {
		return fail(fmt.Errorf("the working tree's program cannot be built: %w", err))
	}
	base, err := head.ForCheckout(ctx, project, filepath.Join(dir, "tools"), "the base's program", o.Progress)
	if err != nil {
		return fail(fmt.Errorf("the base %s cannot be built: %w", report.base(), err))
	}
	// The base's state names the versions of its plugins too, which are beside its program.
	head.Home = base.Home
	progress.Printf("the base's program and the working tree's are built: %.1f s", time.Since(started).Seconds())

	report.Stacks = make([]Stack, len(o.Stacks))
	var group errgroup.Group
	for i, name := range o.Stacks {
		group.Go(func() error {
			c := comparison{
				name: name, state: filepath.Join(dir, "states", name), progress: progress, prices: prices, base: report.base(),
			}
			report.Stacks[i] = c.run(ctx, side{project, base}, side{o.Repo, head})
			return nil
		})
	}
	_ = group.Wait() // what goes wrong is in the report
	return report, ctx.Err()
}

// side is a checkout with its tools.
type side struct {
	repo  string
	tools toolchain.Toolchain
}

// comparison is that of one stack, in a state directory of its own: both programs see the same throw-away
// secrets there.
type comparison struct {
	name, state string
	progress    *log.Logger
	prices      cost.Prices
	// base is the base's name for people.
	base string
}

func (c comparison) run(ctx context.Context, base, head side) Stack {
	result := Stack{Name: c.name}
	secrets, err := stack.Secrets(c.state)
	if err != nil {
		result.Problem = err.Error()
		return result
	}
	hide := scrubber(secrets)

	started := time.Now()
	if err := c.up(ctx, base); err != nil {
		result.Problem = hide.Replace(fmt.Sprintf("The base %s could not be brought up in the model: %s", c.base, err))
		return result
	}
	c.progress.Printf("%s: the base is up in the model: %.1f s", c.name, time.Since(started).Seconds())

	started = time.Now()
	text, data, err := c.preview(ctx, head)
	if err != nil {
		result.Problem = hide.Replace(fmt.Sprintf("The working tree could not be previewed: %s", err))
		return result
	}
	c.progress.Printf("%s: the working tree is previewed: %.1f s", c.name, time.Since(started).Seconds())

	p, err := readPlan([]byte(hide.Replace(string(data))))
	if err != nil {
		result.Problem = err.Error()
		return result
	}
	result.Changes, result.Diff = p.changes, hide.Replace(text)
	// The engine prints these only where they differ; its JSON does not have them.
	result.Outputs = strings.Contains(text, "--outputs:--")
	result.Before, result.After = c.prices.Estimate(p.before), c.prices.Estimate(p.after)
	return result
}

func (c comparison) open(ctx context.Context, s side) (*stack.Stack, error) {
	return stack.Open(ctx, c.name, s.tools, stack.Options{Repo: s.repo, StateDir: c.state})
}

func (c comparison) up(ctx context.Context, base side) error {
	s, err := c.open(ctx, base)
	if err != nil {
		return err
	}
	output, err := s.Output(ctx, s.Operation("up")...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, diagnostics(output))
	}
	return nil
}

// preview is what an update to the working tree's program would do: as text, and as the engine's JSON.
func (c comparison) preview(ctx context.Context, head side) (text string, data []byte, err error) {
	s, err := c.open(ctx, head)
	if err != nil {
		return "", nil, err
	}
	text, err = s.Output(ctx, s.Operation("preview", "--diff", "--color", "never")...)
	if err != nil {
		return "", nil, fmt.Errorf("%w\n%s", err, diagnostics(text))
	}
	data, err = s.Command(ctx, s.Operation("preview", "--json", "--show-sames")...).Output()
	if err != nil {
		return "", nil, fmt.Errorf("reading it as JSON: %w", err)
	}
	return text, data, nil
}

// diagnostics is the part of the engine's output that says what went wrong, or all where there is no such
// part.
func diagnostics(output string) string {
	if i := strings.Index(output, "Diagnostics:\n"); i >= 0 {
		return output[i:]
	}
	return output
}
