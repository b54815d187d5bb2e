// Package golang is a Pulumi language host for Go programs: it builds a program, unless it is configured with a
// binary, runs it with the environment that the Go SDK reads, and reports its exit.
package golang

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Host serves the engine's language protocol. Programs write to the host's standard output and error, which the
// engine shows line by line in its display.
type Host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// engine is the engine's address, which is passed to programs.
	engine         string
	stdout, stderr io.Writer
	// stopped is done when all programs must stop.
	stopped context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// NewHost returns a host for the engine at an address. Its programs write to stdout and stderr.
func NewHost(engine string, stdout, stderr io.Writer) *Host {
	h := &Host{engine: engine, stdout: stdout, stderr: stderr}
	h.stopped, h.stop = context.WithCancel(context.Background())
	return h
}

// Register adds the host to a server.
func (h *Host) Register(s *grpc.Server) { pulumirpc.RegisterLanguageRuntimeServer(s, h) }

// Close kills the programs that still run and waits until they have exited.
func (h *Host) Close() {
	h.stop()
	h.running.Wait()
}

// Cancel kills the programs that still run; the engine calls it when the user interrupts it.
func (h *Host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.stop()
	return &emptypb.Empty{}, nil
}

// Handshake does nothing, because every call has the directories that it needs.
func (h *Host) Handshake(context.Context, *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo returns the version of the SDK that the host was built with, which determines its protocol.
func (h *Host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: sdkVersion()}, nil
}

func sdkVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/pulumi/pulumi/sdk/v3" {
				return strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return "3.0.0" // a test binary has no list of modules
}

// GetRequiredPackages returns no packages. The engine asks for each plugin again, with its version, when the program
// registers the first resource of its package, and the rehearsal's plugins are all installed beforehand.
func (h *Host) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

// GetRequiredPlugins returns no plugins, like GetRequiredPackages. Only older engines call it.
func (h *Host) GetRequiredPlugins(context.Context, *pulumirpc.GetRequiredPluginsRequest) (*pulumirpc.GetRequiredPluginsResponse, error) {
	return &pulumirpc.GetRequiredPluginsResponse{}, nil
}

// RuntimeOptionsPrompts returns no prompts: this host does not support `pulumi new`.
func (h *Host) RuntimeOptionsPrompts(context.Context, *pulumirpc.RuntimeOptionsRequest) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// About returns the path and the version of the go command for `pulumi about`.
func (h *Host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("looking for the go command: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("running %s version: %w", path, err)
	}
	version := strings.TrimPrefix(strings.TrimSpace(string(out)), "go version ")
	return &pulumirpc.AboutResponse{Executable: path, Version: version}, nil
}

// GetProgramDependencies lists the modules that the program's go.mod requires, for `pulumi about`.
func (h *Host) GetProgramDependencies(ctx context.Context, in *pulumirpc.GetProgramDependenciesRequest) (*pulumirpc.GetProgramDependenciesResponse, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "edit", "-json")
	cmd.Dir = in.GetInfo().GetProgramDirectory()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("reading go.mod in %s: %w", cmd.Dir, err)
	}
	var module struct {
		Require []struct {
			Path, Version string
			Indirect      bool
		}
	}
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, fmt.Errorf("reading go.mod in %s: %w", cmd.Dir, err)
	}
	answer := &pulumirpc.GetProgramDependenciesResponse{}
	for _, r := range module.Require {
		if !r.Indirect || in.TransitiveDependencies {
			answer.Dependencies = append(answer.Dependencies, &pulumirpc.DependencyInfo{Name: r.Path, Version: r.Version})
		}
	}
	return answer, nil
}

// InstallDependencies downloads the program's modules for `pulumi install`.
func (h *Host) InstallDependencies(in *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer) error {
	cmd := exec.CommandContext(stream.Context(), "go", "mod", "download")
	cmd.Dir = in.GetInfo().GetProgramDirectory()
	// With the same writer for both, exec writes from one goroutine, which the stream requires.
	out := streamWriter{stream}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("downloading the modules of %s: %w", cmd.Dir, err)
	}
	return nil
}

// streamWriter is a writer that sends its data to the engine.
type streamWriter struct {
	stream pulumirpc.LanguageRuntime_InstallDependenciesServer
}

func (w streamWriter) Write(p []byte) (int, error) {
	return len(p), w.stream.Send(&pulumirpc.InstallDependenciesResponse{Stdout: append([]byte(nil), p...)})
}
