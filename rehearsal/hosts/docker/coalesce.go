package docker

import (
	"context"
	"sync"
	"time"
)

// gather is how long a round waits for more callers before it runs. The Pulumi engine creates the machines of a stack
// all at once, so one round can serve them all.
const gather = 50 * time.Millisecond

// coalescer runs a function for many callers, one run at a time. Each caller gets the result of a run that began after
// its call; callers that arrive during a run share the next one.
type coalescer[T any] struct {
	run func(ctx context.Context) T

	mu   sync.Mutex
	next *round[T]
	busy bool
}

// round is one run and the callers that wait for it.
type round[T any] struct {
	ctx     context.Context
	abandon context.CancelFunc
	waiting int
	done    chan struct{}
	result  T
}

// do waits for a run and returns its result. When ctx is done first, it returns the context's error. A run is cancelled
// when none of its callers waits any more.
func (c *coalescer[T]) do(ctx context.Context) (result T, err error) {
	c.mu.Lock()
	if c.next == nil || c.next.ctx.Err() != nil { // cancelled, because all its callers have left
		c.next = &round[T]{done: make(chan struct{})}
		c.next.ctx, c.next.abandon = context.WithCancel(context.WithoutCancel(ctx))
	}
	r := c.next
	r.waiting++
	if !c.busy {
		c.busy = true
		go c.work()
	}
	c.mu.Unlock()

	select {
	case <-r.done:
		return r.result, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		r.abandon()
	}
	return result, ctx.Err()
}

// work runs rounds until no caller waits.
func (c *coalescer[T]) work() {
	for {
		time.Sleep(gather)
		c.mu.Lock()
		r := c.next
		c.next = nil
		c.busy = r != nil
		c.mu.Unlock()
		if r == nil {
			return
		}
		r.result = c.run(r.ctx)
		r.abandon()
		close(r.done)
	}
}
