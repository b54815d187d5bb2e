package simulated

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"eco2/rehearsal/cluster/kubectl"
)

// execute runs the script itself, as root would on the machine. This works for scripts that need nothing of the machine
// but kubectl: this binary under that name, on the model of the cluster.
func (s *shell) execute(ctx context.Context) error {
	cluster, err := s.cluster()
	if err != nil {
		return die("the cluster's API does not answer: %s is not a control plane", s.machine.Name)
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		return fmt.Errorf("running %s.sh for the simulated host: %w", s.script, err)
	}
	dir, err := os.MkdirTemp("", "eco2-host-")
	if err != nil {
		return fmt.Errorf("creating the files of a simulated host: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(dir, "kubectl"))
	}
	if err != nil {
		return fmt.Errorf("creating the kubectl of a simulated host: %w", err)
	}
	cmd := exec.CommandContext(ctx, bash, append([]string{"-s", "--"}, s.args...)...)
	// The directory of the simulated machine replaces /run.
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(s.text, "/run/eco2.", dir+"/eco2.") + s.data)
	cmd.Stdout, cmd.Stderr = s.out, s.err
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"),
		kubectl.ClusterEnv+"="+cluster.ID(), kubectl.StateDirEnv+"="+s.stateDir)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return &failure{exit: exit.ExitCode()}
	}
	return err
}
