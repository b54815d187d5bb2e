package command

import (
	"context"
	"fmt"
	"io"
)

// Host runs commands on machines.
type Host interface {
	// Run connects, runs the command to its end, and returns its exit status. An error says that there
	// is none: the machine was not reached, or the connection broke. It ends early when ctx does.
	Run(ctx context.Context, session Session) (exit int, err error)
}

// Session is one command on one machine.
type Session struct {
	Connection Connection
	// Command is a line for the user's shell.
	Command     string
	Stdin       string
	Environment []Variable
	// Stdout and Stderr may be written to at the same time.
	Stdout, Stderr io.Writer
	// Status shows how far it is; Warn reports what did not stop it. Both must be set.
	Status, Warn func(line string)
}

// UnreachableError is the end of trying to connect, worded the same for all transports.
type UnreachableError struct {
	Attempts int
	Last     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("after %d failed attempts: %v", e.Attempts, e.Last)
}

func (e *UnreachableError) Unwrap() error { return e.Last }

// GaveUp is an UnreachableError.
func GaveUp(attempts int, last error) error { return &UnreachableError{attempts, last} }
