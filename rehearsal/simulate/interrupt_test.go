package simulate

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
	"eco2/rehearsal/stacktest"
)

// One interrupt in the middle of an update lets the engine end what it has begun; the next update goes on
// from there, and nothing is made twice.
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

// Interrupted once, a destroy that saves its state at its end does what it has begun and saves what is left.
func TestAnUnsavedDestroyIsInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	w.Must(w.Up())
	before, err := w.Open().Resources(t.Context())
	require.NoError(t, err)
	interrupt(t, w, "destroy", func(instances int) bool { return instances < 14 })
	after, err := w.Open().Resources(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, after)
	assert.Less(t, len(after), len(before)-80, "what is gone is saved as gone")

	// Under the same latency: AWS may still hold the load balancer's interfaces, and the destroy has to wait for them.
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}

// interrupt runs an operation with latencies long enough to hit its middle, and interrupts it once as soon as the
// number of instances is such.
func interrupt(t *testing.T, w *stacktest.World, operation string, such func(instances int) bool) {
	t.Helper()
	w.Options.Latency = 0.2
	s := w.Open()
	cmd := s.Command(t.Context(), s.Operation(operation)...)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		instances, err := aws.Open(w.Dir).Instances()
		return err == nil && such(len(instances))
	}, 2*time.Minute, 20*time.Millisecond, "the operation never came that far")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait(), printed.String())
}
