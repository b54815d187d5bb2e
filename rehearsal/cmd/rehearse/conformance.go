package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/cluster/conformance"
	"eco2/rehearsal/internal/setup"
)

func (r *run) conformance() *cobra.Command {
	var suite, focus string
	var procs int
	cmd := &cobra.Command{
		Use:   "conformance",
		Short: "Run upstream's tests of a cluster on the stack's",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if r.level != setup.Rehearse {
				return fmt.Errorf("the tests need a real cluster, which only LEVEL=%s has", setup.Rehearse)
			}
			chosen, err := conformance.SuiteNamed(suite)
			if err != nil {
				return err
			}
			// Checked before anything is built.
			inventory, err := aws.Open(r.stateDir()).Inventory()
			if err != nil {
				return err
			}
			if len(inventory) == 0 {
				return fmt.Errorf("there is no cluster to test: `make up STACK=%s` brings one up", r.name)
			}
			s, err := r.open(ctx)
			if err != nil {
				return err
			}
			kubectl, kubeconfig, err := r.administrator(ctx, s)
			if err != nil {
				return fmt.Errorf("%w; `make up STACK=%s` brings it up", err, r.name)
			}
			tests, err := conformance.AddImages(ctx, r.host.Mirror, r.repo, r.progress)
			if err != nil {
				return err
			}
			result, err := conformance.Run{
				Tests: tests, Suite: chosen, Focus: focus, Kubectl: kubectl, Kubeconfig: kubeconfig, Procs: procs, AllWorkers: true,
				Dir: filepath.Join(r.stateDir(), "conformance"), Out: os.Stderr,
			}.Start(ctx)
			if result.Suite == "" { // nothing ran
				return err
			}
			return errors.Join(result.Print(os.Stdout), err, result.Err())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&suite, "suite", "conformance", "which tests: conformance, network-policies or quick")
	flags.StringVar(&focus, "focus", "", "a regular expression: run only the tests of the suite whose names match it")
	flags.IntVar(&procs, "procs", 4, "how many tests run in parallel")
	return cmd
}
