package setup

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// LatencyEnv is the environment variable with the factor, a decimal number: unset or 0 means no wait, 1 as long as AWS and
// real machines take.
const LatencyEnv = "ECO2_REHEARSAL_LATENCY"

// Latency is the factor that scales all modelled durations.
type Latency float64

// LatencyFromEnv reads the factor from the environment.
func LatencyFromEnv() (Latency, error) {
	text := os.Getenv(LatencyEnv)
	if text == "" {
		return 0, nil
	}
	factor, err := strconv.ParseFloat(text, 64)
	if err != nil || factor < 0 || math.IsNaN(factor) {
		return 0, fmt.Errorf("reading %s=%q: it must be a number, 0 or more", LatencyEnv, text)
	}
	return Latency(factor), nil
}

// Of returns a modelled duration scaled by the factor.
func (f Latency) Of(d time.Duration) time.Duration { return time.Duration(float64(d) * float64(f)) }

// Wait waits for a modelled duration, scaled by the factor, or until ctx is done.
func (f Latency) Wait(ctx context.Context, d time.Duration) error {
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
