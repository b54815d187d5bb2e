package stacktest

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Process is a process of this machine as its owner, and for the arguments everybody, can read it.
type Process struct {
	// Path is the program that it runs.
	Path          string
	Args, Environ []string
}

// Processes are those that ran while somebody watched. One that lives for less than a look takes may be missed.
type Processes struct {
	mu   sync.Mutex
	seen map[string]Process
	// Stop ends the watch; the test's end does, too.
	Stop func()
}

// The watcher sleeps between two looks at all processes: at least so long, and four times what a look took, to leave
// the time to those that it watches.
const lookEvery = 15 * time.Millisecond

// WatchProcesses watches until the test ends.
func WatchProcesses(t *testing.T) *Processes {
	t.Helper()
	p := &Processes{seen: map[string]Process{}}
	var watching sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context()) // which ends before the cleanup
	p.Stop = stop
	watching.Go(func() {
		for ctx.Err() == nil {
			started := time.Now()
			p.look()
			time.Sleep(max(lookEvery, 4*time.Since(started)))
		}
	})
	t.Cleanup(watching.Wait)
	return p
}

func (p *Processes) look() {
	for key, process := range running() {
		p.mu.Lock()
		p.seen[key] = process
		p.mu.Unlock()
	}
}

// running yields the processes of this moment, each with what tells it from others.
func running() iter.Seq2[string, Process] {
	return func(yield func(string, Process) bool) {
		dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
		for _, dir := range dirs {
			// At any of these lines a process may end, or become another program: then the next look sees it.
			path, err := os.Readlink(filepath.Join(dir, "exe"))
			if err != nil { // the kernel's own have none
				continue
			}
			args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
			if now, err := os.Readlink(filepath.Join(dir, "exe")); err != nil || now != path {
				continue
			}
			key := path + "\x00" + string(args) + "\x00" + string(environ)
			if !yield(key, Process{Path: path, Args: split(args), Environ: split(environ)}) {
				return
			}
		}
	}
}

// AwaitEnd waits until no process runs that was started for the world, such as the plugins of an engine that was killed:
// each ends what it has in the making, and then notices.
func (w *World) AwaitEnd() {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		for _, process := range running() {
			if process.Of(w) {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "processes of %s still run", w.Dir)
}

func split(data []byte) []string {
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == 0 })
}

// Seen are all processes so far, each once.
func (p *Processes) Seen() []Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Process
	for _, process := range p.seen {
		all = append(all, process)
	}
	return all
}

// Of says whether a process was started for a world, with what it inherited from the engine.
func (p Process) Of(w *World) bool {
	for _, variable := range p.Environ {
		if strings.HasSuffix(variable, "="+w.Dir) {
			return true
		}
	}
	return false
}

// ofEngine are the engine, the plugins that it starts, and git, which it asks about the checkout.
var ofEngine = regexp.MustCompile(`^(pulumi|pulumi-(language|resource)-[a-z]+|git)$`)

// Shown are the secrets in the arguments and the environments of the processes so far.
//
// Arguments are everybody's to read, and hold none. The environment of a process is its owner's, who can also read
// the passphrase where it came from: the engine is given it there, and what it starts inherits it. The program gets its
// settings so, by the engine's protocol. What a plugin starts in turn gets neither.
func (p *Processes) Shown(s *Secrets, program string) (found []string) {
	for _, process := range p.Seen() {
		name := filepath.Base(process.Path)
		for _, what := range s.In(strings.Join(process.Args, " ")) {
			found = append(found, fmt.Sprintf("arguments of %s: %s", process.Path, what))
		}
		for _, variable := range process.Environ {
			key, _, _ := strings.Cut(variable, "=")
			if key == "PULUMI_CONFIG_PASSPHRASE" && ofEngine.MatchString(name) || key == "PULUMI_CONFIG" && process.Path == program {
				continue
			}
			for _, what := range s.In(variable) {
				found = append(found, fmt.Sprintf("environment of %s %v: %s", process.Path, process.Args, what))
			}
		}
	}
	return found
}
