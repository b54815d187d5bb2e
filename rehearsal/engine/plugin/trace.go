package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Call is one line of the trace: a call of the engine to a provider. Tests use the trace because the engine's display
// is not reliable: it says "deleted" also for resources whose provider it never called.
type Call struct {
	Start    time.Time `json:"start"`
	Seconds  float64   `json:"seconds"`
	Provider string    `json:"provider"`
	Method   string    `json:"method"`
	Type     string    `json:"type"`
	URN      string    `json:"urn,omitempty"`
	ID       string    `json:"id,omitempty"`
	Preview  bool      `json:"preview,omitempty"`
	Failed   bool      `json:"failed,omitempty"`
}

// TraceFile is the name of the file in the state directory to which a rehearsal's providers append their calls.
const TraceFile = "calls.jsonl"

// trace appends calls to the file with one write for each line, so that several plugins can share it.
type trace struct {
	provider string
	mu       sync.Mutex
	file     *os.File
}

func openTrace(provider, stateDir string) (*trace, error) {
	file, err := os.OpenFile(filepath.Join(stateDir, TraceFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &trace{provider: provider, file: file}, nil
}

type tracedCall struct {
	trace *trace
	Call
	id string
}

func (t *trace) start(method, typ, urn, id string, preview bool) *tracedCall {
	return &tracedCall{trace: t, id: id, Call: Call{
		Start: time.Now(), Provider: t.provider, Method: method, Type: typ, URN: urn, Preview: preview,
	}}
}

// end writes the call and returns err unchanged. It does not write the error's text, which may quote inputs.
func (c *tracedCall) end(err error) error {
	c.Seconds, c.ID, c.Failed = time.Since(c.Start).Seconds(), c.id, err != nil
	line, _ := json.Marshal(c.Call) // plain strings and numbers always marshal
	c.trace.mu.Lock()
	defer c.trace.mu.Unlock()
	_, _ = c.trace.file.Write(append(line, '\n')) // a full disk must not fail the run: only tests read the trace
	return err
}

// ReadTrace reads the calls so far from a state directory, in the order in which they ended.
func ReadTrace(stateDir string) ([]Call, error) {
	file, err := os.Open(filepath.Join(stateDir, TraceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the trace of calls: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var calls []Call
	decoder := json.NewDecoder(file)
	for {
		var call Call
		switch err := decoder.Decode(&call); {
		case errors.Is(err, io.EOF):
			return calls, nil
		case err != nil:
			return nil, fmt.Errorf("reading the trace of calls: %w", err)
		}
		calls = append(calls, call)
	}
}
