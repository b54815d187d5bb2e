package simulated

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/e2e/world"
)

// After one interrupt in the middle of an update, the engine completes the calls that it has begun. The next update
// continues from there, and nothing is created twice.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	withCheckpoints(w)
	interrupt(t, w, "up", func(instances int) bool { return instances > 0 })

	w.Options.Latency = 0
	w.Must(w.Up())
	counts := w.Inventory().Counts()
	assert.Equal(t, 14, counts["instance"])
	assert.Equal(t, 1, counts["vpc"])
	assert.Empty(t, w.Steps())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// After one interrupt, a destroy that saves its state only at its end completes what it has begun, and saves what is
// left.
func TestAnUnsavedDestroyIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorldUp(t)
	before, err := w.Open().Resources(t.Context())
	require.NoError(t, err)
	interrupt(t, w, "destroy", func(instances int) bool { return instances < 14 })
	after, err := w.Open().Resources(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, after)
	assert.Less(t, len(after), len(before)-80, "the saved state does not have what was deleted")

	// With the same latency: AWS may not have released the load balancer's interfaces yet, and the destroy must wait.
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// interrupt runs an operation, and interrupts it once as soon as the number of instances satisfies the condition. The
// latencies are long enough to hit the operation's middle.
func interrupt(t *testing.T, w *world.World, operation string, condition func(instances int) bool) {
	t.Helper()
	w.Options.Latency = 0.2
	s := w.Open()
	cmd := s.Command(t.Context(), s.Operation(operation)...)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		instances, err := aws.Open(w.Dir).Instances()
		return err == nil && condition(len(instances))
	}, 2*time.Minute, 20*time.Millisecond, "the operation never got that far")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait(), printed.String())
}
