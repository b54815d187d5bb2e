package golang

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

// binaryOption is the runtime option in Pulumi.yaml with the path of a built program, absolute or relative to the
// program's directory. Without it the program is built for every preview and again for every update, which takes
// seconds each time.
const binaryOption = "binary"

// Run runs the program until it exits. A failed build or program is part of the response. An error means that the host
// itself failed.
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
			return nil, fmt.Errorf("creating a directory for the program: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // a leftover in the temporary directory does no harm
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
	// The configuration must not be in the arguments, which every user of the machine can read.
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

// command returns a command in the program's directory. When ctx is done it is killed with all processes that it
// started. It has its own process group, so a Ctrl-C in the terminal does not reach it: the engine handles that.
func (h *Host) command(ctx context.Context, in *pulumirpc.RunRequest, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = in.GetInfo().GetProgramDirectory()
	if in.Pwd != "" { // older engines send only this one
		cmd.Dir = in.Pwd
	}
	cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// SIGKILL is enough, because a program has nothing to clean up: it only calls the engine.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// environment returns the environment variables that the Go SDK's pulumi.Run reads.
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

// outcome returns the response for a program's exit. Bail tells the engine that the program has logged its error
// already.
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
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program was killed by a signal: %v", exit)}
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program failed with exit code %d", exit.ExitCode())}
	}
}
