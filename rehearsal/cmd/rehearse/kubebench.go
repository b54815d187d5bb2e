package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"eco2/rehearsal/cluster/kubebench"
	"eco2/rehearsal/hosts/docker"
	"eco2/rehearsal/internal/setup"
)

func (r *run) kubeBench() *cobra.Command {
	return &cobra.Command{
		Use:   "kube-bench",
		Short: "Check the stack's control plane and one of its workers against the CIS Kubernetes Benchmark",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if r.level != setup.Rehearse {
				return fmt.Errorf("kube-bench needs real machines, which only LEVEL=%s has", setup.Rehearse)
			}
			list, err := docker.List(ctx, r.stateDir())
			if err != nil {
				return err
			}
			machines := map[kubebench.Role]docker.Machine{}
			for _, m := range list {
				node, ok := strings.CutPrefix(m.Name, "eco2-"+r.name+"-")
				switch {
				case !ok || m.State != "running":
				case node == "k8s-master":
					machines[kubebench.ControlPlane] = m
				default:
					machines[kubebench.Worker] = m // all workers are set up in the same way
				}
			}
			tool, err := kubebench.Build(ctx, r.repo, r.progress)
			if err != nil {
				return err
			}
			var problems []error
			for _, role := range []kubebench.Role{kubebench.ControlPlane, kubebench.Worker} {
				m, ok := machines[role]
				if !ok {
					return fmt.Errorf("no machine of stack %s runs as a %s; `make up STACK=%s` brings it up", r.name, role, r.name)
				}
				result, err := tool.Check(ctx, m, role)
				if err != nil {
					return fmt.Errorf("on %s: %w", m.Name, err)
				}
				problems = append(problems, result.Print(os.Stdout), result.Err())
			}
			return errors.Join(problems...)
		},
	}
}
