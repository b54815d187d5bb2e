package simulate

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/aws"
)

// One interrupt in the middle of an update lets the engine end what it has begun; the next update goes on
// from there, and nothing is made twice.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "dev", "")
	withCheckpoints(w)
	w.Options.Latency = 0.2 // long enough to hit the middle
	s := w.Open()
	cmd := s.Command(t.Context(), s.Operation("up")...)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		instances, err := aws.Open(w.Dir).Instances()
		return err == nil && len(instances) > 0
	}, time.Minute, 20*time.Millisecond, "no instance was made")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait(), printed.String())

	w.Options.Latency = 0
	w.Must(w.Up())
	counts := w.Inventory().Counts()
	assert.Equal(t, 14, counts["instance"])
	assert.Equal(t, 1, counts["vpc"])
	assert.Empty(t, w.Steps())
	w.Must(w.Destroy())
	assert.Empty(t, w.Inventory())
}
