package stacktest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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
}

// lookEvery is how long the watcher sleeps between two looks at all processes.
const lookEvery = 15 * time.Millisecond

// WatchProcesses watches until the test ends.
func WatchProcesses(t *testing.T) *Processes {
	t.Helper()
	p := &Processes{seen: map[string]Process{}}
	var watching sync.WaitGroup
	ctx := t.Context() // which ends before the cleanup
	watching.Go(func() {
		for ctx.Err() == nil {
			p.look()
			time.Sleep(lookEvery)
		}
	})
	t.Cleanup(watching.Wait)
	return p
}

func (p *Processes) look() {
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
		p.mu.Lock()
		p.seen[key] = Process{Path: path, Args: split(args), Environ: split(environ)}
		p.mu.Unlock()
	}
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
