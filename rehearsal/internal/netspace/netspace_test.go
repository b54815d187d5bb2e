package netspace

import (
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"eco2/rehearsal/internal/needs"
)

// No thread of the process may stay in the other namespace, the main thread included, which cannot exit.
func TestNoThreadStaysInTheOtherNamespace(t *testing.T) {
	needs.Root(t, "to create a network namespace")
	made := make(chan netns.NsHandle)
	go onceOnThread(func() {
		space, err := netns.New()
		assert.NoError(t, err)
		made <- space
	})
	space := <-made
	t.Cleanup(func() { assert.NoError(t, space.Close()) })
	here, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)

	var group sync.WaitGroup
	for range 500 {
		group.Go(func() {
			there, err := In(space, func() (string, error) { return os.Readlink("/proc/thread-self/ns/net") })
			assert.NoError(t, err)
			assert.NotEqual(t, here, there)
		})
	}
	group.Wait()
	main, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	assert.Equal(t, here, main, "the main thread is in the other namespace, and cannot leave it")
}
