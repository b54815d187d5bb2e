// Package progress shows what a long preparation is doing and how far it is: on a terminal in one line that is
// rewritten in place, elsewhere with one line for each step that takes long.
package progress

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	// reportedFrom is how long a step takes that is worth a line where there is no terminal.
	reportedFrom = 5 * time.Second
	// heartbeat is the interval of the lines about a step that has not ended yet.
	heartbeat = time.Minute
	// clearLine moves the cursor to the beginning of a terminal's line, and erases the line.
	clearLine = "\r\x1b[K"
)

// Display shows steps. It is an io.Writer for messages, which must be complete lines.
type Display struct {
	out     io.Writer
	verbose bool
	// width returns the width of the terminal; nil if out is not a terminal.
	width func() int

	mu sync.Mutex
	// started is when the first step began.
	started time.Time
	// running holds the steps that have not ended, in the order in which they began. The last one is shown.
	running []*Step
	// planned is the number of builds that are expected, begun the number of those that have begun.
	planned, begun int
	// drawn says that the terminal shows a step.
	drawn bool
}

// New returns a Display on a file. With verbose it also prints the output of the programs that the steps run.
func New(file *os.File, verbose bool) *Display {
	d := &Display{out: file, verbose: verbose}
	if fd := int(file.Fd()); !verbose && term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		d.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return d
}

// Plan adds to the number of builds that are expected, which is shown with each build. It does nothing if out is not a
// Display.
func Plan(out io.Writer, builds int) {
	if d, ok := out.(*Display); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.planned += builds
	}
}

// Step is something that takes time. It must be ended with End.
type Step struct {
	display *Display
	// what says what is being done: "building kubeadm". usual says how long it takes with empty caches, empty if unknown.
	what, usual string
	// number is the number of a build, zero for other steps.
	number   int
	started  time.Time
	reported time.Time
	ended    chan struct{}
}

// Start begins a step. If out is not a Display, the step is reported there as where there is no terminal.
func Start(out io.Writer, what string) *Step { return start(out, what, "", false) }

// StartBuild begins a step that Plan counts. usual says how long it takes with empty caches.
func StartBuild(out io.Writer, what, usual string) *Step { return start(out, what, usual, true) }

func start(out io.Writer, what, usual string, build bool) *Step {
	d, ok := out.(*Display)
	if !ok {
		d = &Display{out: out}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	s := &Step{display: d, what: what, usual: usual, started: now, reported: now, ended: make(chan struct{})}
	if build {
		d.begun++
		d.planned = max(d.planned, d.begun)
		s.number = d.begun
	}
	if d.started.IsZero() {
		d.started = now
	}
	d.running = append(d.running, s)
	if d.verbose {
		d.print(s.text() + "\n")
	}
	d.draw()
	go s.tick()
	return s
}

// tick keeps the display current until the step ends.
func (s *Step) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-ticker.C:
			s.refresh()
		}
	}
}

func (s *Step) refresh() {
	d := s.display
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draw()
	if d.width == nil && !d.verbose && slices.Contains(d.running, s) && time.Since(s.reported) >= heartbeat {
		s.reported = time.Now()
		d.print(s.text() + ": " + s.duration() + " so far" + s.hint() + "\n")
	}
}

// Write takes the output of a program that the step runs. Only a verbose display prints it.
func (s *Step) Write(output []byte) (int, error) {
	if s.display.verbose {
		return s.display.Write(output)
	}
	return len(output), nil
}

// End ends the step. The caller reports err, which must have the output that explains it.
func (s *Step) End(err error) {
	d := s.display
	d.mu.Lock()
	defer d.mu.Unlock()
	close(s.ended)
	d.running = slices.DeleteFunc(d.running, func(running *Step) bool { return running == s })
	d.draw()
	if err == nil && d.width == nil && (d.verbose || time.Since(s.started) >= reportedFrom) {
		d.print(s.text() + ": " + s.duration() + "\n")
	}
}

// text returns what the step does, for a build with its number.
func (s *Step) text() string {
	if s.number == 0 || s.display.planned < 2 {
		return s.what
	}
	return fmt.Sprintf("[%d/%d] %s", s.number, s.display.planned, s.what)
}

func (s *Step) duration() string { return time.Since(s.started).Round(time.Second).String() }

func (s *Step) hint() string {
	if s.usual == "" {
		return ""
	}
	return " (first time: " + s.usual + ")"
}

// Write prints a message.
func (d *Display) Write(message []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.drawn {
		d.print(clearLine)
	}
	n, err := d.out.Write(message)
	d.draw()
	return n, err
}

// draw writes the terminal's line again: the step that began last, or nothing if none runs.
func (d *Display) draw() {
	if d.width == nil || len(d.running) == 0 && !d.drawn {
		return
	}
	line := ""
	if last := len(d.running) - 1; last >= 0 {
		step := d.running[last]
		line = step.text() + ": " + step.duration()
		if d.planned > 1 {
			line += ", " + time.Since(d.started).Round(time.Second).String() + " in all"
		}
		// A line that is wider than the terminal would take two, of which only the second could be rewritten.
		width := d.width() - 1
		if hint := step.hint(); utf8.RuneCountInString(line+hint) <= width {
			line += hint
		}
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width])
		}
	}
	d.print(clearLine + line)
	d.drawn = line != ""
}

// print ignores errors: lost progress is no failure.
func (d *Display) print(text string) { _, _ = io.WriteString(d.out, text) }
