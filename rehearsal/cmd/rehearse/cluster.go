package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"eco2/rehearsal/cluster/kubectl"
	"eco2/rehearsal/engine/stack"
	"eco2/rehearsal/hosts/simulated"
	"eco2/rehearsal/internal/setup"
)

func (r *run) kubectl() *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl -- ARGUMENTS",
		Short: "Run kubectl on the stack's cluster, as its administrator",
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.level == setup.Simulate {
				return r.modelKubectl(args)
			}
			s, err := r.openMachines(cmd.Context())
			if err != nil {
				return err
			}
			kubectl, kubeconfig, err := r.administrator(cmd.Context(), s)
			if err != nil {
				return err
			}
			return become(kubectl, append(os.Environ(), "KUBECONFIG="+kubeconfig), args...)
		},
	}
}

// modelKubectl runs a stand-in for kubectl on the model of the stack's cluster. It is enough to inspect the model, and
// to stop a controller in it.
func (r *run) modelKubectl(args []string) error {
	simulated, err := simulated.New(r.stateDir(), simulated.OpenAccount(r.stateDir()))
	if err != nil {
		return err
	}
	clusters, err := simulated.Clusters()
	if err != nil {
		return err
	}
	for _, running := range clusters {
		// The machine's name contains the stack's.
		if strings.Contains(running.ControlPlane.Name, "-"+r.name+"-") {
			return kubectl.Run(r.stateDir(), running.Cluster.ID(), args, os.Stdout)
		}
	}
	return fmt.Errorf("stack %s has no cluster in the model; `make up LEVEL=%s STACK=%s` creates one", r.name, r.level, r.name)
}

func (r *run) ssh() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh NODE [-- COMMAND]",
		Short: "Log in to a machine, or run a command there",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := r.openMachines(cmd.Context())
			if err != nil {
				return err
			}
			address, err := address(cmd.Context(), s, args[0])
			if err != nil {
				return err
			}
			ssh, err := exec.LookPath("ssh")
			if err != nil {
				return errors.New("this machine has no ssh command; install Debian's openssh-client")
			}
			key, err := s.WriteKey()
			if err != nil {
				return err
			}
			return become(ssh, os.Environ(), append([]string{
				"-i", key, "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
				// A replaced machine has another host key at the same address.
				"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", address,
			}, args[1:]...)...)
		},
	}
}

// openMachines opens a stack with real machines. It fails at other levels.
func (r *run) openMachines(ctx context.Context) (*stack.Stack, error) {
	if r.level != setup.Rehearse {
		return nil, fmt.Errorf("at level %s the machines are models, on which nobody can log in; LEVEL=%s has real ones", r.level, setup.Rehearse)
	}
	return r.open(ctx)
}

// address returns user@host of a node from the stack's outputs, which have "ssh user@host".
func address(ctx context.Context, s *stack.Stack, node string) (string, error) {
	var commands map[string]string
	data, err := s.Value(ctx, "ssh")
	if err == nil {
		err = json.Unmarshal([]byte(data), &commands)
	}
	if err != nil {
		return "", fmt.Errorf("finding the machines of stack %s (is it up?): %w", s.Name, err)
	}
	command, ok := commands[node]
	if !ok {
		return "", fmt.Errorf("there is no node %q; the nodes are %s", node, strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
	}
	return strings.TrimPrefix(command, "ssh "), nil
}

// administrator writes the cluster's kubeconfig into the state directory, and returns its path with that of a kubectl
// of the cluster's version.
func (r *run) administrator(ctx context.Context, s *stack.Stack) (kubectl, kubeconfig string, err error) {
	text, err := s.Value(ctx, "kubeconfig")
	if err != nil {
		return "", "", fmt.Errorf("fetching the kubeconfig of stack %s (is it up?): %w", s.Name, err)
	}
	kubeconfig = filepath.Join(r.stateDir(), "kubeconfig."+s.Name)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		return "", "", fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return r.host.Kubectl, kubeconfig, nil
}

// become replaces this process with another program, which then has the terminal, receives signals and sets the exit
// code.
func become(path string, environ []string, args ...string) error {
	if err := syscall.Exec(path, append([]string{filepath.Base(path)}, args...), environ); err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	return nil
}
