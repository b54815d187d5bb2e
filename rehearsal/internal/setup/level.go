// Package setup defines what the parts of a rehearsal, which are several processes, must agree on: the level, the factor
// of modelled waits, and the addresses and IDs that more than one part knows. The command behind make sets the former
// two in the environment of the engine's plugins.
package setup

import (
	"fmt"
	"os"
)

// Level is a level of the rehearsal. Levels differ in how much is real; AWS is a model at every level.
type Level string

// The levels.
const (
	// Simulate uses models of the machines and the cluster, too: it needs neither root nor Docker and takes seconds.
	Simulate Level = "simulate"
	// Rehearse uses real machines, on which the program's scripts create a real cluster.
	Rehearse Level = "rehearse"
)

// LevelEnv is the environment variable with the level, for the plugins; unset means Simulate.
const LevelEnv = "ECO2_REHEARSAL_LEVEL"

// LevelFromEnv reads the level from the environment.
func LevelFromEnv() (Level, error) {
	text := os.Getenv(LevelEnv)
	if text == "" {
		return Simulate, nil
	}
	level, err := ParseLevel(text)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", LevelEnv, err)
	}
	return level, nil
}

// ParseLevel returns the level with a name.
func ParseLevel(text string) (Level, error) {
	switch level := Level(text); level {
	case Simulate, Rehearse:
		return level, nil
	default:
		return "", fmt.Errorf("%q is not a level; the levels are %s and %s", text, Simulate, Rehearse)
	}
}
