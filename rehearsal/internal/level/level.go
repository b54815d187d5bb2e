// Package level defines the levels of a rehearsal, which differ in how much is real. AWS is a model at every level.
package level

import (
	"fmt"
	"os"
)

// Level is a level of the rehearsal.
type Level string

// The levels.
const (
	// Simulate uses models of the machines and the cluster, too: it needs neither root nor Docker and takes seconds.
	Simulate Level = "simulate"
	// Rehearse uses real machines, on which the program's scripts create a real cluster.
	Rehearse Level = "rehearse"
)

// Env is the environment variable with the level, for the plugins; unset means Simulate.
const Env = "ECO2_REHEARSAL_LEVEL"

// FromEnv reads the level from the environment.
func FromEnv() (Level, error) {
	text := os.Getenv(Env)
	if text == "" {
		return Simulate, nil
	}
	level, err := Parse(text)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", Env, err)
	}
	return level, nil
}

// Parse returns the level with a name.
func Parse(text string) (Level, error) {
	switch level := Level(text); level {
	case Simulate, Rehearse:
		return level, nil
	default:
		return "", fmt.Errorf("%q is not a level; the levels are %s and %s", text, Simulate, Rehearse)
	}
}
