// Command rehearse runs the project's own Pulumi program on this machine, with models in the place of
// what one machine does not have. `make` calls it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"eco2/rehearsal/stack"
	"eco2/rehearsal/toolchain"
)

func main() {
	// An interrupt is left to the pulumi command while that runs, which ends what it has begun; the
	// context is for what comes before and after.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	var failed *stack.FailedError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		os.Exit(max(failed.Code, 1))
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "interrupted; run the same command again to go on")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run is what the commands share.
type run struct {
	repo, state, name string
	latency           float64
}

func root() *cobra.Command {
	r := &run{}
	cmd := &cobra.Command{
		Use:           "rehearse",
		Short:         "Run the project's Pulumi program on this machine, with a model of AWS",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&r.repo, "repo", ".", "the project's checkout")
	flags.StringVar(&r.state, "state", "", "the rehearsal's state directory (default <repo>/.rehearsal)")
	flags.StringVar(&r.name, "stack", "local", "the stack: local, dev or prod")
	flags.Float64Var(&r.latency, "latency", 0, "how slow the models are: 1 is like AWS, 0 does not wait")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) (err error) {
		if r.repo, err = filepath.Abs(r.repo); err != nil {
			return err
		}
		if r.state == "" {
			r.state = filepath.Join(r.repo, ".rehearsal")
		}
		r.state, err = filepath.Abs(r.state)
		return err
	}
	cmd.AddCommand(r.up(), r.preview(), r.destroy(), r.status(), r.bench(), r.prepare())
	return cmd
}

func (r *run) tools(ctx context.Context) (toolchain.Toolchain, error) {
	return toolchain.Prepare(ctx, r.repo, r.state, os.Stderr)
}

func (r *run) options() stack.Options {
	return stack.Options{Repo: r.repo, StateDir: r.state, Latency: r.latency}
}

func (r *run) open(ctx context.Context) (*stack.Stack, error) {
	tools, err := r.tools(ctx)
	if err != nil {
		return nil, err
	}
	return stack.Open(ctx, r.name, tools, r.options())
}

func (r *run) prepare() *cobra.Command {
	return &cobra.Command{
		Use:   "prepare",
		Short: "Build what the other commands need, and nothing else",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := r.tools(cmd.Context())
			return err
		},
	}
}

func (r *run) up() *cobra.Command {
	return &cobra.Command{
		Use:   "up [-- PULUMI ARGUMENTS]",
		Short: "Bring the stack up, or make it what the program says now",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := r.open(cmd.Context())
			if err != nil {
				return err
			}
			if err := s.Run(cmd.Context(), s.Operation("up", args...)...); err != nil {
				return err
			}
			fmt.Printf("\nThe machines and the cluster are models: see what they hold with `make status`.\n")
			return nil
		},
	}
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
			tools, err := r.tools(cmd.Context())
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "eco2-preview-")
			if err != nil {
				return fmt.Errorf("making a directory for the copied state: %w", err)
			}
			defer func() { _ = os.RemoveAll(dir) }()
			s, err := stack.Shaped(cmd.Context(), r.name, from, tools, r.options(), dir)
			if err != nil {
				return err
			}
			return s.Run(cmd.Context(), s.Operation("preview", append([]string{"--diff"}, args...)...)...)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "preview against a copy of this stack's state: what tells the two apart")
	return cmd
}

func (r *run) destroy() *cobra.Command {
	var unprotect bool
	cmd := &cobra.Command{
		Use:   "destroy [-- PULUMI ARGUMENTS]",
		Short: "Take the stack away",
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
			return s.Run(cmd.Context(), s.Operation("destroy", args...)...)
		},
	}
	cmd.Flags().BoolVar(&unprotect, "unprotect", false, "lift the protection of a stack like prod first")
	return cmd
}
