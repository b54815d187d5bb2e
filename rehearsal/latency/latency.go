// Package latency is how slow the rehearsal's models are: one factor for every wait of all of them.
package latency

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// Env names the factor to the plugins, a decimal number: unset or 0 is at once, 1 is as long as AWS and
// real machines take.
const Env = "ECO2_REHEARSAL_LATENCY"

// Factor scales modelled times.
type Factor float64

// FromEnv reads the factor from the environment.
func FromEnv() (Factor, error) {
	text := os.Getenv(Env)
	if text == "" {
		return 0, nil
	}
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || factor < 0 || math.IsNaN(factor) {
		return 0, fmt.Errorf("reading %s=%q: it is a factor, 0 or more", Env, text)
	}
	return Factor(factor), nil
}

// Of is the time that a modelled time takes here.
func (f Factor) Of(d time.Duration) time.Duration { return time.Duration(float64(d) * float64(f)) }

// Wait lets a modelled time pass, or ends with ctx.
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
