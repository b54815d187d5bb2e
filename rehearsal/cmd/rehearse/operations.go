package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/spf13/cobra"

	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/engine/timeline"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/supply"
)

func (r *run) up() *cobra.Command {
	return &cobra.Command{
		Use:   "up [-- PULUMI ARGUMENTS]",
		Short: "Bring the stack up, or update it",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := r.open(ctx)
			if err != nil {
				return err
			}
			if r.level == setup.Rehearse {
				if err := docker.Restore(ctx, r.stateDir()); err != nil {
					return fmt.Errorf("starting the machines that were stopped: %w", err)
				}
				if err := supply.PublishWorkloads(r.stateDir()); err != nil {
					return fmt.Errorf("publishing the workloads: %w", err)
				}
			}
			err = r.withTimeline(ctx, s, "up", args, func(t *timeline.Timeline) error {
				resources, err := s.Resources(context.WithoutCancel(ctx)) // an interrupted update also gets a timeline
				dependencies := map[resource.URN][]resource.URN{}
				for _, r := range resources {
					dependencies[r.URN] = r.Dependencies
				}
				t.Mark(dependencies)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Print(r.next(time.Since(r.started)))
			return nil
		},
	}
}

// withTimeline runs an operation with arguments for the pulumi command. It then prints the critical path and writes a
// timeline as an HTML page. mark marks the critical steps.
func (r *run) withTimeline(ctx context.Context, s *stack.Stack, operation string, args []string, mark func(*timeline.Timeline) error) error {
	events := filepath.Join(r.stateDir(), fmt.Sprintf("events.%s.%s.json", s.Name, operation))
	if err := os.Remove(events); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the event log of the last %s: %w", operation, err)
	}
	err := s.Run(ctx, s.Operation(operation, append(r.displayFlags(events), args...)...)...)
	page := filepath.Join(s.StateDir, fmt.Sprintf("timeline.%s.%s.html", s.Name, operation))
	t, drawErr := readTimeline(events, mark)
	if drawErr == nil && len(t.Steps) > 0 {
		drawErr = draw(t, page, fmt.Sprintf("%s of stack %s", operation, s.Name))
	}
	switch {
	case drawErr != nil:
		fmt.Fprintln(os.Stderr, "warning:", drawErr) // only the operation itself can fail
	case len(t.Steps) > 0: // if nothing changed, the page of the last change is kept
		fmt.Print(criticalPath(t, r.verbose))
		fmt.Printf("The timeline of all steps: file://%s\n", page)
	}
	for _, note := range t.Notes {
		fmt.Println(note)
	}
	return err
}

// displayFlags returns the flags of up and destroy that select what the pulumi command prints, and where it writes its
// events. The outputs are long, and `make status` shows them.
func (r *run) displayFlags(events string) []string {
	flags := []string{"--event-log", events}
	if r.verbose {
		return append(flags, "--non-interactive") // a line for each event, none of which is overwritten
	}
	return append(flags, "--suppress-outputs")
}

func readTimeline(events string, mark func(*timeline.Timeline) error) (timeline.Timeline, error) {
	log, err := os.Open(events)
	if err != nil {
		return timeline.Timeline{}, fmt.Errorf("reading the engine's events: %w", err)
	}
	defer func() { _ = log.Close() }() // it was only read
	t, err := timeline.Read(log)
	if err != nil || len(t.Steps) == 0 {
		return t, err
	}
	err = mark(&t)
	return t, err
}

func draw(t timeline.Timeline, page, title string) error {
	file, err := os.OpenFile(page, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) //nolint:gosec // names and times are not secret
	if err != nil {
		return fmt.Errorf("drawing the timeline: %w", err)
	}
	return errors.Join(t.Write(file, title), file.Close())
}

func (r *run) preview() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "preview [-- PULUMI ARGUMENTS]",
		Short: "Show what an update would change",
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				s, err := r.open(cmd.Context())
				if err != nil {
					return err
				}
				return s.Run(cmd.Context(), s.Operation("preview", args...)...)
			}
			tools, o, err := r.toolsAndOptions(cmd.Context())
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "eco2-preview-")
			if err != nil {
				return fmt.Errorf("making a directory for the copied state: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			s, err := stack.OpenWithStateOf(cmd.Context(), r.name, from, tools, o, dir)
			if err != nil {
				return err
			}
			return s.Run(cmd.Context(), s.Operation("preview", append([]string{"--diff"}, args...)...)...)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "preview on a copy of this stack's state, to see how the two stacks differ")
	return cmd
}

func (r *run) destroy() *cobra.Command {
	var unprotect bool
	cmd := &cobra.Command{
		Use:   "destroy [-- PULUMI ARGUMENTS]",
		Short: "Destroy the stack",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			if unprotect {
				if err := s.Run(cmd.Context(), "state", "unprotect", "--all", "--yes", "--stack", r.name); err != nil {
					return err
				}
			}
			err = r.withTimeline(cmd.Context(), s, "destroy", args, func(t *timeline.Timeline) error {
				t.MarkLayers()
				return nil
			})
			if err != nil {
				fmt.Fprintln(os.Stderr, "The destroy has failed. Run it again to continue where it stopped; if it fails there again, see docs/operations.md, 'Destroy is blocked'.")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&unprotect, "unprotect", false, "lift the protection of a stack like prod first")
	return cmd
}
