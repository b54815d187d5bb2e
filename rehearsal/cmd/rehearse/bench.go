package main

import (
	"os"

	"github.com/spf13/cobra"

	"eco2/rehearsal/bench"
)

func (r *run) bench() *cobra.Command {
	return &cobra.Command{
		Use:   "bench",
		Short: "Measure the engine's work for 14, 56 and 224 nodes, and the critical path of an update",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tools, err := r.tools(cmd.Context())
			if err != nil {
				return err
			}
			return bench.Run(cmd.Context(), os.Stdout, os.Stderr, tools, r.repo)
		},
	}
}
