package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"

	"eco2/rehearsal/internal/progress"
)

const (
	// engineLog is the log file of an engine that was started without systemd.
	engineLog = "/var/log/dockerd.log"
	// engineStart bounds how long a started engine may take to answer; it usually takes two or three seconds.
	engineStart = time.Minute
)

// connect returns a client of the Docker engine. It does not check that the engine runs.
func connect() (*client.Client, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("connecting to Docker: %w", err)
	}
	return docker, nil
}

// startEngine makes sure that a Docker engine answers: where there is none it installs Debian's, and starts it. pid is
// its process ID if it was started without systemd, otherwise 0.
func startEngine(ctx context.Context, out io.Writer) (pid int, err error) {
	docker, err := connect()
	if err != nil {
		return 0, err
	}
	defer func() { _ = docker.Close() }() // nothing was written
	if _, err := docker.Ping(ctx); err == nil {
		return 0, nil
	} else if !client.IsErrConnectionFailed(err) {
		return 0, fmt.Errorf("asking Docker whether it runs: %w", err)
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		if err := install(ctx, out, "the Docker engine", "docker.io"); err != nil {
			return 0, err
		}
	}
	if pid, err = launch(ctx, out); err != nil {
		return pid, err
	}
	for deadline := time.Now().Add(engineStart); ; {
		_, err := docker.Ping(ctx)
		switch {
		case err == nil:
			return pid, nil
		case ctx.Err() != nil:
			return pid, ctx.Err()
		case time.Now().After(deadline):
			return pid, fmt.Errorf("starting the Docker engine: it did not answer within %s: %w%s", engineStart, err, lastLines(engineLog))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// launch starts an installed engine: through systemd where that is the init system, otherwise directly, as a process
// that outlives this one and whose ID it returns.
func launch(ctx context.Context, out io.Writer) (pid int, err error) {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		say(out, "starting the Docker engine")
		return 0, command(ctx, "systemctl", "start", "docker")
	}
	say(out, "starting dockerd directly, because this machine does not run systemd; it logs to %s", engineLog)
	log, err := os.OpenFile(engineLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, fmt.Errorf("opening the log of the Docker engine: %w", err)
	}
	defer func() { _ = log.Close() }() // the engine has its own handle
	engine := exec.Command("dockerd")
	engine.Stdout, engine.Stderr = log, log
	engine.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := engine.Start(); err != nil {
		return 0, fmt.Errorf("starting the Docker engine: %w", err)
	}
	pid = engine.Process.Pid
	return pid, engine.Process.Release()
}

// install prints what it is about to install, and installs the Debian packages.
func install(ctx context.Context, out io.Writer, what string, packages ...string) (err error) {
	say(out, "installing %s: apt-get install %s", what, strings.Join(packages, " "))
	step := progress.Start(out, "installing "+what)
	defer func() { step.End(err) }()
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("installing %s: this machine has no apt-get; install it by hand and run this again", what)
	}
	if err := logged(ctx, step, "apt-get", "update"); err != nil {
		return err
	}
	return logged(ctx, step, "apt-get", append([]string{"install", "--assume-yes", "--no-install-recommends"}, packages...)...)
}

// command runs a program and waits for it. Its error includes the output. The program gets its own process group, so
// that an interrupt stops its children too.
func command(ctx context.Context, name string, args ...string) error {
	return logged(ctx, io.Discard, name, args...)
}

// logged is like command, and also copies the output to log while the program runs.
func logged(ctx context.Context, log io.Writer, name string, args ...string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout = io.MultiWriter(&output, log)
	cmd.Stderr = cmd.Stdout
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("running %s: %w", name, err)
	}
	return fmt.Errorf("running %s %s: %w%s", name, strings.Join(args, " "), err, indented(output.String()))
}

// shownLines bounds how many lines of a log an error includes. Of a program's output it includes all.
const shownLines = 20

func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "" // the log is only an addition to the actual error
	}
	lines := strings.Split(string(bytes.TrimRight(data, "\n")), "\n")
	return indented(strings.Join(lines[max(0, len(lines)-shownLines):], "\n"))
}

func indented(text string) string {
	return "\n  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...) // lost progress output is no failure
}
