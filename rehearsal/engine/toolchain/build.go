package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"eco2/rehearsal/internal/gitcli"
)

// reportAfter is how long a build takes before its first progress report, reportEvery the interval of the following
// ones.
const (
	reportAfter = 5 * time.Second
	reportEvery = 15 * time.Second
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
	// Test builds the binary of the package's tests, with `go test -c`. That does not report compiled packages.
	Test bool
}

// Compile runs the Go tool, which decides what is stale. A file gets its final name only when it is complete.
func Compile(ctx context.Context, out io.Writer, t Target) error {
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
	args := []string{"build", "-v"}
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

	p := &progress{out: out, what: t.What, usual: t.Usual, started: time.Now()}
	done := p.watch()
	err := run(ctx, t.Dir, env, p, args...)
	close(done)
	if err != nil {
		return fmt.Errorf("building %s: %w%s", t.What, err, p.errors())
	}
	if !intoDir {
		if err := os.Rename(output, t.Output); err != nil {
			return fmt.Errorf("building %s: %w", t.What, err)
		}
	}
	p.finish()
	return nil
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

// progress counts the packages that `go build -v` reports, and keeps its other output for an error.
type progress struct {
	out         io.Writer
	what, usual string
	started     time.Time

	mu       sync.Mutex
	partial  []byte
	packages int
	other    []string
	reported bool
}

func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, data...)
	for {
		i := bytes.IndexByte(p.partial, '\n')
		if i < 0 {
			return len(data), nil
		}
		line := string(p.partial[:i])
		p.partial = p.partial[i+1:]
		switch {
		case strings.HasPrefix(line, "go: downloading"):
		case strings.ContainsAny(line, " \t:#"):
			p.other = append(p.other, line)
		default:
			p.packages++
		}
	}
}

// watch prints progress reports until the returned channel is closed.
func (p *progress) watch() chan struct{} {
	done := make(chan struct{})
	go func() {
		timer := time.NewTimer(reportAfter)
		defer timer.Stop()
		for {
			select {
			case <-done:
				return
			case <-timer.C:
				p.report()
				timer.Reset(reportEvery)
			}
		}
	}()
	return done
}

func (p *progress) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	usual := ""
	if !p.reported {
		usual = fmt.Sprintf(" (about %s with empty caches)", p.usual)
	}
	p.reported = true
	packages := ""
	if p.packages > 0 {
		packages = fmt.Sprintf("%d packages, ", p.packages)
	}
	_, _ = fmt.Fprintf(p.out, "building %s%s: %s%.0fs\n", p.what, usual, packages, time.Since(p.started).Seconds())
}

func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reported {
		_, _ = fmt.Fprintf(p.out, "built %s in %.0fs\n", p.what, time.Since(p.started).Seconds())
	}
}

func (p *progress) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text strings.Builder
	scanner := bufio.NewScanner(strings.NewReader(strings.Join(p.other, "\n")))
	for scanner.Scan() {
		text.WriteString("\n  " + scanner.Text())
	}
	return text.String()
}
