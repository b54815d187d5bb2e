package component

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// probes answer the kubelet's: nil is yes.
type probes struct {
	live, ready func(context.Context) error
}

// serve runs a component with its probes at http://ADDRESS/liveness and /readiness, the paths that Felix
// answers at. It ends when run does.
func serve(ctx context.Context, address string, p probes, run func(context.Context) error) error {
	mux := http.NewServeMux()
	mux.Handle("GET /liveness", answer(p.live))
	mux.Handle("GET /readiness", answer(p.ready))
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("answering probes: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		defer func() { _ = server.Close() }() // the process ends; a probe that is cut off fails
		return run(ctx)
	})
	return group.Wait()
}

func answer(probe func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := probe(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
}

// passes keeps how the passes of a loop end.
type passes struct {
	mu sync.Mutex
	// began is the pass that is under way; zero between passes.
	began time.Time
	last  error
}

func (p *passes) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = time.Now()
}

func (p *passes) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.last = time.Time{}, err
}

// ready says how the last pass ended.
func (p *passes) ready(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// live fails where a pass does not end.
func (p *passes) live(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began.IsZero() && time.Since(p.began) > stuck {
		return fmt.Errorf("a pass that began at %s has not ended", p.began.Format(time.TimeOnly))
	}
	return nil
}
