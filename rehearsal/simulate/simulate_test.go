// Package simulate tests the whole program through the real engine: the pulumi command, the project's
// settings, and the models of AWS, hosts and Kubernetes.
package simulate

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"eco2/rehearsal/kubectl"
	"eco2/rehearsal/needs"
	"eco2/rehearsal/stacktest"
	"eco2/rehearsal/toolchain"
)

var tools toolchain.Toolchain

func TestMain(m *testing.M) {
	if kubectl.Called() { // by a script of a test
		kubectl.Main()
	}
	flag.Parse()
	if testing.Short() { // no test runs: see newWorld
		os.Exit(m.Run())
	}
	var err error
	if tools, err = stacktest.Tools(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the rehearsal:", err)
		os.Exit(1)
	}
	// Much of a test is waiting: for an engine to start, for models that are slow. One for each core leaves a third of the
	// time unused.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// newWorld is empty: nothing exists in AWS. The stack has the settings of a committed stack file.
//
// Its engine writes the state once, when an operation ends. Written at each step it is half of what a test costs, and
// tells a test nothing unless the engine is killed: see withCheckpoints.
func newWorld(t *testing.T, name, settingsOf string) *stacktest.World {
	t.Helper()
	needs.Long(t)
	w := stacktest.New(t, tools, name, settingsOf)
	withCheckpoints(w)
	w.Options.Environ = append(w.Options.Environ, "PULUMI_SKIP_CHECKPOINTS=true")
	return w
}

// withCheckpoints makes the engine write the state at each step, as it does for everybody.
func withCheckpoints(w *stacktest.World) {
	// A fifth of what the engine and its plugins do would be collecting garbage.
	w.Options.Environ = []string{"GOGC=400"}
}
