package main

import (
	"os"

	"github.com/spf13/cobra"

	"eco2/rehearsal/e2e/bench"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/internal/setup"
)

func (r *run) bench() *cobra.Command {
	return &cobra.Command{
		Use:   "bench",
		Short: "Measure the engine's work for 14, 56 and 224 nodes, and the critical path of an update",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.onModels(); err != nil {
				return err
			}
			tools, err := r.tools(cmd.Context())
			if err != nil {
				return err
			}
			return bench.Run(cmd.Context(), os.Stdout, os.Stderr, tools, r.repo)
		},
	}
}

func (r *run) benchRehearsal() *cobra.Command {
	return &cobra.Command{
		Use:   "bench-rehearsal",
		Short: "Measure an update of real machines against kubeadm by hand",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.level = setup.Rehearse
			tools, o, err := r.toolsAndOptions(cmd.Context())
			if err != nil {
				return err
			}
			o.SettingsOf = r.name
			// Without the platform, which kubeadm by hand does not install either.
			o.Config["platform"] = false
			s, err := stack.Open(cmd.Context(), "bench", tools, o)
			if err != nil {
				return err
			}
			return bench.Rehearsal(cmd.Context(), os.Stdout, os.Stderr, s, r.host.Network)
		},
	}
}
