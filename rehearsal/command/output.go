package command

import (
	"bytes"
	"strings"
	"sync"
)

// loggings are the values of the property logging. Without one, both streams are logged.
var loggings = []string{"none", "stdout", "stderr", "stdoutAndStderr"}

// output collects what a command writes: each stream for itself, both in the order they came, and whole
// lines to the engine's display as far as the command asks for it.
type output struct {
	mu             sync.Mutex
	together       bytes.Buffer
	stdout, stderr *stream
}

type stream struct {
	all      *output
	buffer   bytes.Buffer
	unlogged []byte
	log      func(line string) // nil logs nothing
}

func newOutput(logging string, log func(line string)) *output {
	o := &output{}
	o.stdout, o.stderr = &stream{all: o}, &stream{all: o}
	if logging != "none" && logging != "stderr" {
		o.stdout.log = log
	}
	if logging != "none" && logging != "stdout" {
		o.stderr.log = log
	}
	return o
}

func (s *stream) Write(p []byte) (int, error) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	s.buffer.Write(p)
	s.all.together.Write(p)
	if s.log == nil {
		return len(p), nil
	}
	s.unlogged = append(s.unlogged, p...)
	for {
		line, rest, found := bytes.Cut(s.unlogged, []byte("\n"))
		if !found {
			return len(p), nil
		}
		s.log(string(line))
		s.unlogged = rest
	}
}

// text is the stream without the newline at its end, as the resource's outputs have it.
func (s *stream) text() string {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	return strings.TrimSuffix(s.buffer.String(), "\n")
}

// flush logs last lines that no newline ended.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range []*stream{o.stdout, o.stderr} {
		if len(s.unlogged) > 0 {
			s.log(string(s.unlogged))
			s.unlogged = nil
		}
	}
}

func (o *output) both() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.together.String()
}
