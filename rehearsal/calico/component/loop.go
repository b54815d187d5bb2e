package component

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// refresh is how often the kernel is looked at though nothing changed, as often as Felix does.
	refresh = 90 * time.Second
	// retry is the pause after something failed.
	retry = 2 * time.Second
	// stuck is how long one pass may take; after that the kubelet is to start the container again.
	stuck = 5 * time.Minute
)

// loop makes a pass whenever something changed, after a failure, and from time to time.
type loop struct {
	// what is done, for the log.
	what   string
	passes *passes
	// changed has room for one: several changes at once are one pass.
	changed chan struct{}
	retry   time.Duration
}

// newLoop is not ready before its first pass, and says why.
func newLoop(what, unready string) *loop {
	return &loop{what: what, retry: retry, passes: &passes{last: errors.New(unready)}, changed: make(chan struct{}, 1)}
}

func (l *loop) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run ends with ctx. A pass says what it has come to.
func (l *loop) run(ctx context.Context, pass func(context.Context) (string, error)) error {
	var told string
	for {
		l.passes.begin()
		outcome, err := pass(ctx)
		l.passes.end(err)
		pause := refresh
		if err != nil {
			outcome, pause = err.Error(), l.retry
		}
		// The same outcome again and again is told once.
		if outcome != told {
			told = outcome
			if err != nil {
				slog.Error(l.what+" failed, trying again", "error", err)
			} else {
				slog.Info(outcome)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.changed:
		case <-time.After(pause):
		}
	}
}
