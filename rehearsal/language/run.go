package language

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// binaryOption is the runtime option in Pulumi.yaml that names a program which is built already; a path
// that is not absolute is relative to the program's directory. Without it the program is built for every
// preview and again for every update, which takes seconds each time.
const binaryOption = "binary"

// Run runs the program until it ends. How the program failed is part of the answer, not an error: errors
// are for what the host could not do.
func (h *Host) Run(ctx context.Context, in *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	h.running.Add(1)
	defer h.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.stopped, cancel)()

	binary := in.GetInfo().GetOptions().GetFields()[binaryOption].GetStringValue()
	if binary == "" {
		dir, err := os.MkdirTemp("", "pulumi-go-")
		if err != nil {
			return nil, fmt.Errorf("making a directory for the program: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory harms nobody
		binary = filepath.Join(dir, "program")
		build := h.command(ctx, in, "go", "build", "-o", binary, entryPoint(in))
		if err := build.Run(); err != nil {
			return &pulumirpc.RunResponse{Error: fmt.Sprintf("building the program in %s: %v", build.Dir, err)}, nil
		}
	} else if !filepath.IsAbs(binary) {
		binary = filepath.Join(in.GetInfo().GetProgramDirectory(), binary)
	}

	env, err := h.environment(in)
	if err != nil {
		return nil, err
	}
	// Nothing of the configuration may become an argument: every user of the machine can read those.
	program := h.command(ctx, in, binary, in.Args...)
	program.Env = append(os.Environ(), env...)
	return outcome(binary, program.Run()), nil
}

func entryPoint(in *pulumirpc.RunRequest) string {
	if entry := in.GetInfo().GetEntryPoint(); entry != "" {
		return entry
	}
	return "."
}

// command prepares a process in the program's directory that dies, with all it started, when ctx ends.
// Its own process group also keeps the terminal's interrupt from it: the engine decides what that means.
func (h *Host) command(ctx context.Context, in *pulumirpc.RunRequest, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = in.GetInfo().GetProgramDirectory()
	if in.Pwd != "" { // older engines send only this one
		cmd.Dir = in.Pwd
	}
	cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A program has nothing to tidy up: it only talks to the engine, which is what went away.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// environment is what the Go SDK's pulumi.Run reads.
func (h *Host) environment(in *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(in.Config)
	if err != nil {
		return nil, fmt.Errorf("encoding the configuration: %w", err)
	}
	secrets, err := json.Marshal(in.ConfigSecretKeys)
	if err != nil {
		return nil, fmt.Errorf("encoding the names of secrets: %w", err)
	}
	return []string{
		pulumi.EnvOrganization + "=" + in.Organization,
		pulumi.EnvProject + "=" + in.Project,
		pulumi.EnvPulumiRootDirectory + "=" + in.GetInfo().GetRootDirectory(),
		pulumi.EnvStack + "=" + in.Stack,
		pulumi.EnvConfig + "=" + string(config),
		pulumi.EnvConfigSecretKeys + "=" + string(secrets),
		pulumi.EnvDryRun + "=" + strconv.FormatBool(in.DryRun),
		pulumi.EnvParallel + "=" + strconv.Itoa(int(in.Parallel)),
		pulumi.EnvMonitor + "=" + in.MonitorAddress,
		pulumi.EnvEngine + "=" + h.engine,
	}, nil
}

// outcome says how a program ended. Bail tells the engine that the program has logged its error already.
func outcome(binary string, err error) *pulumirpc.RunResponse {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}
	case !errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("starting the program %s: %v", binary, err)}
	case exit.ExitCode() == constant.ExitStatusLoggedError:
		return &pulumirpc.RunResponse{Bail: true}
	case exit.ExitCode() < 0:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program was ended by a signal: %v", exit)}
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program ended with exit code %d", exit.ExitCode())}
	}
}
