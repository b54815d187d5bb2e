package world

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

// Process is a process of this machine, with what can be read of it: by everybody the arguments, by its owner the rest.
type Process struct {
	// Path is the program that it runs.
	Path          string
	Args, Environ []string
}

// Processes records the processes that ran during a watch. A very short-lived process may be missed between two scans.
type Processes struct {
	mu   sync.Mutex
	seen map[string]Process
	// Stop stops the watch, which otherwise stops with the test.
	Stop func()
}

// lookEvery is the shortest pause between two scans of all processes. The pause is at least four times as long as the
// scan took, to leave CPU time to the watched processes.
const lookEvery = 15 * time.Millisecond

// WatchProcesses watches all processes of this machine until the test is over.
func WatchProcesses(t *testing.T) *Processes {
	t.Helper()
	p := &Processes{seen: map[string]Process{}}
	var watching sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context()) // cancelled before the cleanup
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

// running yields the processes that run now, each with a key that identifies it.
func running() iter.Seq2[string, Process] {
	return func(yield func(string, Process) bool) {
		dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
		for _, dir := range dirs {
			// At any of these lines a process may exit, or execute another program. It is skipped then; the next scan
			// sees the new program.
			path, err := os.Readlink(filepath.Join(dir, "exe"))
			if err != nil { // kernel threads have none
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

// AwaitEnd waits until no process runs that was started for the world. Plugins of a killed engine complete their
// current call before they exit.
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

// Seen returns all processes so far, each once.
func (p *Processes) Seen() []Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Process
	for _, process := range p.seen {
		all = append(all, process)
	}
	return all
}

// Of reports whether a process was started for a world, by the environment that it inherited from the engine.
func (p Process) Of(w *World) bool {
	for _, variable := range p.Environ {
		if strings.HasSuffix(variable, "="+w.Dir) {
			return true
		}
	}
	return false
}

// ofEngine matches the engine, the plugins that it starts, and git, which it runs to inspect the checkout.
var ofEngine = regexp.MustCompile(`^(pulumi|pulumi-(language|resource)-[a-z]+|git)$`)

// SecretsShown returns the secrets in the arguments and the environments of the processes so far.
//
// Everybody can read arguments, so they must contain none. Only the owner of a process can read its environment. Two
// variables there may contain secrets: the engine gets the passphrase in one, which its child processes inherit, and
// its owner can read it at its source too. The program gets its settings in another one, by the engine's protocol.
// Processes that a plugin starts must get neither.
func (p *Processes) SecretsShown(s *Secrets, program string) (found []string) {
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
