// Package latency scales the modelled durations of all models of the rehearsal by one factor.
package latency

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// Env is the environment variable with the factor, a decimal number: unset or 0 means no wait, 1 as long as AWS and
// real machines take.
const Env = "ECO2_REHEARSAL_LATENCY"

// Factor scales modelled durations.
type Factor float64

// FromEnv reads the factor from the environment.
func FromEnv() (Factor, error) {
	text := os.Getenv(Env)
	if text == "" {
		return 0, nil
	}
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || factor < 0 || math.IsNaN(factor) {
		return 0, fmt.Errorf("reading %s=%q: it must be a number, 0 or more", Env, text)
	}
	return Factor(factor), nil
}

// Of returns a modelled duration scaled by the factor.
func (f Factor) Of(d time.Duration) time.Duration { return time.Duration(float64(d) * float64(f)) }

// Wait waits for a modelled duration, scaled by the factor, or until ctx is done.
func (f Factor) Wait(ctx context.Context, d time.Duration) error {
	if d = f.Of(d); d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
