package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"eco2/rehearsal/engine/previewdiff"
	"eco2/rehearsal/engine/toolchain"
)

// changed is the exit code of a preview-diff that shows changes.
const changed = 2

func (r *run) previewDiff() *cobra.Command {
	var base, stacks, out string
	cmd := &cobra.Command{
		Use:   "preview-diff",
		Short: "Show what the working tree changes in stacks, against another commit",
		Long: `For each stack, brings the base's program up in a model and previews the working tree's program on the resulting
state. The machines are always models, regardless of --level.

The report is printed, and written to a directory: comment.md for a pull request, full.md for a job's summary,
diff.<stack>.txt with a stack's complete diff, and outcome with one word: unchanged, changed or failed.

The exit code is 0 if nothing changes, 2 if something does, 1 if the base cannot be brought up or the working tree
cannot be previewed, and 130 after an interrupt.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if err := r.onModels(); err != nil {
				return err
			}
			if base == "" {
				base = previewdiff.DefaultBase(ctx, r.repo)
			}
			if out == "" {
				out = filepath.Join(r.state, "preview-diff")
			}
			names := strings.FieldsFunc(stacks, func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
			if err := previewdiff.Clear(out); err != nil {
				return err
			}
			if len(names) == 0 {
				return errors.New("name a stack: --stacks dev,prod")
			}
			report, err := previewdiff.Run(ctx, previewdiff.Options{
				Repo: r.repo, Base: base, Stacks: names, Progress: r.progress,
				Tools: func(ctx context.Context) (toolchain.Toolchain, error) { return r.tools(ctx) },
			})
			if err != nil {
				return err
			}
			if err := report.Write(out); err != nil {
				return err
			}
			if err := report.Text(os.Stdout); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "The comment for a pull request and the report's other files are in %s\n", out)
			switch report.Outcome() {
			case previewdiff.Unchanged:
				return nil
			case previewdiff.Changed:
				return exitError(changed)
			default:
				return exitError(1)
			}
		},
	}
	cmd.Flags().StringVar(&base, "base", "", "the commit to compare with (default origin/main if there is one, or else HEAD~1)")
	cmd.Flags().StringVar(&stacks, "stacks", "dev,prod", "the stacks, separated by commas or spaces")
	cmd.Flags().StringVar(&out, "out", "", "the directory for the report's files (default <state>/preview-diff)")
	return cmd
}

// exitError makes the command exit with a code, without an error message: the reason has already been printed.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
