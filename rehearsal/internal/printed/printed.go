// Package printed provides a buffer that can be read while several goroutines or a running process write to it.
package printed

import (
	"bytes"
	"sync"
)

// Text is a buffer that is safe for concurrent use. Its zero value is empty.
type Text struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (t *Text) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(data)
}

func (t *Text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
