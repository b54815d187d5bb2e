package remote

import (
	"bytes"
	"strings"
	"sync"
)

// loggings lists the values of the property logging. If it is not set, both streams are logged.
var loggings = []string{"none", "stdout", "stderr", "stdoutAndStderr"}

// output collects the output of a command: each stream separately, and both together in the order of the writes. It
// also logs complete lines to the engine's display, as the property logging demands.
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

// text returns the stream's content without a newline at its end, for the resource's outputs.
func (s *stream) text() string {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	return strings.TrimSuffix(s.buffer.String(), "\n")
}

// flush logs the last line of each stream if it has no newline at its end.
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
