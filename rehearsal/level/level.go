// Package level says how much of a rehearsal is real. AWS is a model at every level.
package level

import (
	"fmt"
	"os"
)

// Level is how much is real.
type Level string

// The levels.
const (
	// Simulate has models of the machines and the cluster too: no root, no Docker, seconds.
	Simulate Level = "simulate"
	// Rehearse has real machines, on which the program's scripts make a real cluster.
	Rehearse Level = "rehearse"
)

// Env tells the plugins their level; unset is Simulate.
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

// Parse reads a level by its name.
func Parse(text string) (Level, error) {
	switch level := Level(text); level {
	case Simulate, Rehearse:
		return level, nil
	default:
		return "", fmt.Errorf("%q is no level; the levels are %s and %s", text, Simulate, Rehearse)
	}
}
