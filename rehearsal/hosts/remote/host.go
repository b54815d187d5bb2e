package remote

import (
	"context"
	"fmt"
	"io"
)

// Host runs commands on machines.
type Host interface {
	// Run connects, runs the command and returns its exit status. An error means that there is no exit status: the
	// machine could not be reached, the connection broke, or ctx is done.
	Run(ctx context.Context, session Session) (exit int, err error)
}

// Session describes one run of a command on one machine.
type Session struct {
	Connection Connection
	// Command is a line for the user's shell.
	Command     string
	Stdin       string
	Environment []Variable
	// Stdout and Stderr may be written to concurrently.
	Stdout, Stderr io.Writer
	// Status reports progress; Warn reports problems that do not stop the command. Both must be set.
	Status, Warn func(line string)
}

// UnreachableError reports that all attempts to connect failed. Its wording is the same for all transports.
type UnreachableError struct {
	Attempts int
	Last     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("after %d failed attempts: %v", e.Attempts, e.Last)
}

func (e *UnreachableError) Unwrap() error { return e.Last }

// GaveUp returns an UnreachableError with the last attempt's error.
func GaveUp(attempts int, last error) error { return &UnreachableError{attempts, last} }
