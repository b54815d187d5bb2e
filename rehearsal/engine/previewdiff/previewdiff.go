// Package previewdiff reports what a checkout of the project would change in its stacks, compared with another commit.
// It brings that commit's program up in a model, and previews the checkout's program on the resulting state.
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

	"eco2/rehearsal/engine/cost"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/toolchain"
)

// Options say what is compared.
type Options struct {
	// Repo is the project's checkout. Its files are used as they are, committed or not.
	Repo string
	// Base is the commit to compare with, by any name that git knows.
	Base string
	// Stacks are the names of the stacks.
	Stacks []string
	// Tools prepares the checkout's program, and the engine and the stand-ins for both programs.
	Tools func(context.Context) (toolchain.Toolchain, error)
	// Progress gets a line after each step, with the seconds that it took.
	Progress io.Writer
}

// Run compares the checkout with the base. Problems of the base, the checkout or a stack are part of the report, where
// people read them. Run returns an error only for other causes, such as an interrupt.
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
	// The base's state refers to the versions of its plugins, which are only installed in the base's home.
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
	_ = group.Wait() // problems are in the report
	return report, ctx.Err()
}

// side is one of the two compared checkouts with its tools.
type side struct {
	repo  string
	tools toolchain.Toolchain
}

// comparison compares one stack, in its own state directory, from which both programs get the same throw-away secrets.
type comparison struct {
	name, state string
	progress    *log.Logger
	prices      cost.Prices
	// base is the base's name in messages.
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
	// The engine prints outputs only if they differ, and its JSON does not contain them.
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

// preview previews an update to the working tree's program, and returns the engine's output as text and as JSON.
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

// diagnostics returns the part of the engine's output that describes errors, or all of it if there is no such part.
func diagnostics(output string) string {
	if i := strings.Index(output, "Diagnostics:\n"); i >= 0 {
		return output[i:]
	}
	return output
}
