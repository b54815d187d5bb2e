// Package simulated tests the whole program with the real engine (the pulumi command), the project's settings, and
// models of AWS, hosts and Kubernetes.
package simulated

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"eco2/rehearsal/cluster/kubectl"
	"eco2/rehearsal/e2e/world"
	"eco2/rehearsal/engine/toolchain"
	"eco2/rehearsal/internal/needs"
)

var tools toolchain.Toolchain

func TestMain(m *testing.M) {
	if kubectl.Called() { // a script of a test runs this program as kubectl
		kubectl.Main()
	}
	flag.Parse()
	if testing.Short() { // no test runs: see newWorld
		os.Exit(m.Run())
	}
	var err error
	if tools, err = world.Tools(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the rehearsal:", err)
		os.Exit(1)
	}
	// A test waits much of its time: for an engine to start, for models that are slow. With one test for each core, a
	// third of the CPU time would remain unused.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(upDir); err != nil { // nothing if upDir is empty
		fmt.Fprintln(os.Stderr, "removing the state directory of a stack that is up:", err)
	}
	os.Exit(code)
}

// newWorld returns a world in which nothing exists in AWS yet, and a stack with the settings of a committed stack file.
//
// Its engine writes the state only once, at the end of an operation. Writing it at each step takes half of a test's
// time and only matters to tests that kill the engine: see withCheckpoints.
func newWorld(t *testing.T, name, settingsOf string) *world.World {
	t.Helper()
	needs.Long(t)
	w := world.New(t, tools, name, settingsOf)
	withCheckpoints(w)
	w.Options.Environ = append(w.Options.Environ, "PULUMI_SKIP_CHECKPOINTS=true")
	return w
}

var (
	bringUp sync.Once
	// upDir is a copy of the state directory of a stack with dev's settings that is up.
	upDir string
)

// newWorldUp returns a world in which a stack with dev's settings is up. It is a copy of one that the first caller brings
// up, because many tests begin with such a stack.
func newWorldUp(t *testing.T) *world.World {
	t.Helper()
	bringUp.Do(func() {
		w := newWorld(t, "dev", "")
		w.Must(w.Up())
		dir, err := os.MkdirTemp("", "TestStackThatIsUp")
		require.NoError(t, err)
		require.NoError(t, os.CopyFS(dir, os.DirFS(w.Dir)))
		upDir = dir
	})
	require.NotEmpty(t, upDir, "the first test that needs a stack that is up failed to bring it up")
	w := newWorld(t, "dev", "")
	require.NoError(t, os.CopyFS(w.Dir, os.DirFS(upDir)))
	return w
}

// withCheckpoints makes the engine write the state at each step, as it does by default.
func withCheckpoints(w *world.World) {
	// Otherwise the engine and its plugins would spend a fifth of their CPU time on garbage collection.
	w.Options.Environ = []string{"GOGC=400"}
}
