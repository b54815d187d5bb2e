package toolchain

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"eco2/rehearsal/internal/gitcli"
	"eco2/rehearsal/internal/progress"
)

// Target describes one `go build`, or one `go test -c`.
type Target struct {
	// What names the target in messages. Usual is how long the build takes on two cores with empty caches.
	What, Usual string
	// Dir is the directory of the module that pins the versions.
	Dir string
	// Output is the file to write, or with a slash at its end the directory for the binaries of all packages.
	Output   string
	Packages []string
	LDFlags  string
	// Tags are build tags, separated by commas.
	Tags string
	// Static builds a binary that needs no shared library, and is identical from any checkout on any machine.
	Static bool
	// Test builds the binary of the package's tests, with `go test -c`.
	Test bool
}

// Compile runs the Go tool, which decides what is stale. A file gets its final name only when it is complete. The error
// of a failed build has all that the Go tool printed, except which modules it downloaded.
func Compile(ctx context.Context, out io.Writer, t Target) (err error) {
	step := progress.StartBuild(out, "building "+t.What, t.Usual)
	defer func() { step.End(err) }()
	intoDir := strings.HasSuffix(t.Output, string(filepath.Separator))
	output := t.Output
	if !intoDir {
		if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
			return fmt.Errorf("building %s: %w", t.What, err)
		}
		// In a directory of this build only, because another checkout may build the same tool into the same cache.
		dir, err := os.MkdirTemp(filepath.Dir(output), ".building-")
		if err != nil {
			return fmt.Errorf("building %s: %w", t.What, err)
		}
		defer func() { _ = os.RemoveAll(dir) }() // empty unless the build failed
		output = filepath.Join(dir, filepath.Base(output))
		// With a copy of the existing file, the Go tool skips linking if it is up to date.
		if exists(t.Output) {
			if err := copyFile(t.Output, output); err != nil {
				return fmt.Errorf("building %s: %w", t.What, err)
			}
		}
	}
	args := []string{"build"}
	if t.Test {
		args = []string{"test", "-c", "-vet=off"}
	}
	args = append(args, "-o", output, "-ldflags", t.LDFlags, "-tags", t.Tags)
	var env []string
	if t.Static {
		args = append(args, "-trimpath", "-buildvcs=false")
		env = append(env, "CGO_ENABLED=0")
	}
	args = append(args, t.Packages...)

	var printed bytes.Buffer
	if err := run(ctx, t.Dir, env, io.MultiWriter(&printed, step), args...); err != nil {
		return fmt.Errorf("building %s: %w%s", t.What, err, WithoutDownloads(printed.String()))
	}
	if !intoDir {
		if err := os.Rename(output, t.Output); err != nil {
			return fmt.Errorf("building %s: %w", t.What, err)
		}
	}
	return nil
}

// WithoutDownloads returns what the Go tool printed, except which modules it downloaded.
func WithoutDownloads(text string) string {
	var lines strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "go: downloading ") {
			lines.WriteString("\n  " + strings.TrimRight(line, "\n"))
		}
	}
	return lines.String()
}

// download downloads a module's dependencies. It can run while something else is built, which needs no network.
func download(ctx context.Context, dir string) error {
	var output bytes.Buffer
	if err := run(ctx, dir, nil, &output, "mod", "download"); err != nil {
		return fmt.Errorf("downloading the modules of %s: %w\n%s", filepath.Base(dir), err, output.String())
	}
	return nil
}

func run(ctx context.Context, dir string, env []string, output io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(gitcli.Environ(), env...) // Go runs git to find the commit
	cmd.Stdout, cmd.Stderr = output, output
	// In its own process group, so that a cancellation stops the compilers too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
