package simulated

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/fault"
)

// A destroy that saves its state only at its end, and is killed before, leaves a state that still has everything. The
// next destroy deletes all of it again, which is harmless for what is gone. If the control plane is gone too, the sweep
// fails, and docs/operations.md, "The control plane does not answer", describes what to do.
func TestAnUnsavedDestroyIsKilled(t *testing.T) {
	t.Parallel()
	const command = "command:remote:Command"
	for _, at := range []struct {
		name  string
		fault fault.Fault
		gone  bool // whether the control plane is gone by then
	}{
		{"during the sweep", fault.Fault{Type: command, Name: "sweep"}, false},
		{"during the early sweep", fault.Fault{Type: command, Name: "early-sweep"}, false},
		{"while machines are terminated", fault.Fault{Type: "aws:ec2/instance:Instance", Name: "k8s-redis"}, true},
		{"while the network is deleted", fault.Fault{Type: "aws:ec2/subnet:Subnet"}, true},
		{"after the subnets", fault.Fault{Type: "aws:acm/certificate:Certificate"}, true},
		{"at the last call", fault.Fault{Type: "aws:ec2/vpc:Vpc"}, true},
	} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			w := newWorldUp(t)
			before, err := w.Open().Resources(t.Context())
			require.NoError(t, err)
			at.fault.Method = "Delete"
			killEngine(t, w, "destroy", at.fault)
			after, err := w.Open().Resources(t.Context())
			require.NoError(t, err)
			require.Len(t, after, len(before), "nothing was saved")
			printed, err := w.Destroy()
			if at.gone {
				require.Error(t, err)
				assert.Contains(t, printed, "command:remote:Command (sweep)")
				w.Must(w.Pulumi("state", "delete", "--force", "--target-dependents", "--yes", w.URN(command, "early-sweep")))
				printed, err = w.Destroy()
			}
			require.NoError(t, err, printed)
			assert.Empty(t, w.Inventory())
			left, err := w.Open().Resources(t.Context())
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
