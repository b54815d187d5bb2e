package docker

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryCallerGetsARunThatBeganAfterItsCall(t *testing.T) {
	var changes, runs atomic.Int64
	c := &coalescer[int64]{run: func(context.Context) int64 {
		runs.Add(1)
		return changes.Load()
	}}
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			mine := changes.Add(1)
			seen, err := c.do(t.Context())
			assert.NoError(t, err)
			assert.GreaterOrEqual(t, seen, mine, "the run began before the change")
		})
	}
	group.Wait()
	assert.Less(t, runs.Load(), int64(20), "200 calls at once should share a few runs")
}

func TestARunIsCancelledWhenItsLastCallerLeaves(t *testing.T) {
	started, stopped := make(chan struct{}), make(chan error)
	c := &coalescer[struct{}]{run: func(ctx context.Context) struct{} {
		close(started)
		<-ctx.Done()
		stopped <- ctx.Err()
		return struct{}{}
	}}
	first, leaveFirst := context.WithCancel(t.Context())
	second, leaveSecond := context.WithCancel(t.Context())
	errs := make(chan error)
	for _, ctx := range []context.Context{first, second} {
		go func() {
			_, err := c.do(ctx)
			errs <- err
		}()
	}
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.next != nil && c.next.waiting == 2
	}, time.Second, time.Millisecond)
	<-started
	leaveFirst()
	require.ErrorIs(t, <-errs, context.Canceled)
	select {
	case <-stopped:
		t.Fatal("the run stopped while a caller was waiting for it")
	default:
	}
	leaveSecond()
	require.ErrorIs(t, <-errs, context.Canceled)
	require.ErrorIs(t, <-stopped, context.Canceled)
}
