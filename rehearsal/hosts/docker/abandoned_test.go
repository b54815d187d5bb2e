package docker

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	dockernet "github.com/docker/docker/api/types/network"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"eco2/rehearsal/internal/filelock"
)

// What a killed test or a deleted checkout left is removed, what another rehearsal uses stays.
func TestMachinesOfAbandonedRehearsalsAreRemoved(t *testing.T) {
	l := newLab(t)
	leave := func(dir, subnet string, exists bool) string {
		if exists {
			require.NoError(t, os.MkdirAll(dir, 0o755))
		}
		_, err := l.driver.docker.NetworkCreate(t.Context(), filepath.Base(filepath.Dir(dir))+filepath.Base(dir), dockernet.CreateOptions{
			Driver: "bridge", Labels: map[string]string{Label: dir, idLabel: "vpc-0"},
			IPAM: &dockernet.IPAM{Config: []dockernet.IPAMConfig{{Subnet: subnet}}},
		})
		require.NoError(t, err)
		return dir
	}
	dir := t.TempDir()
	killed := leave(filepath.Join(dir, ".rehearsal", "test"), "10.78.0.0/24", true)
	deleted := leave(filepath.Join(dir, "checkout", "local"), "10.78.1.0/24", false)
	inUse := leave(filepath.Join(dir, "other", "local"), "10.78.2.0/24", true)
	t.Cleanup(func() { require.NoError(t, Remove(context.Background(), inUse)) })

	require.NoError(t, removeAbandoned(t.Context(), os.Stderr, func(stateDir string) bool { return ofTests(stateDir) && stateDir == killed }))
	dirs, err := stateDirs(t.Context(), l.driver.docker)
	require.NoError(t, err)
	assert.NotContains(t, dirs, killed)
	assert.NotContains(t, dirs, deleted)
	assert.NoDirExists(t, deleted)
	assert.Contains(t, dirs, inUse)
	assert.Contains(t, dirs, l.driver.stateDir)
}

func TestStateDirectoriesOfTests(t *testing.T) {
	assert.True(t, ofTests("/home/someone/eco2/.rehearsal/test"))
	assert.True(t, ofTests(t.TempDir()))
	assert.False(t, ofTests("/home/someone/eco2/.rehearsal/local"))
	assert.False(t, ofTests(os.TempDir()+"/eco2/.rehearsal/local"))
}

func TestTheReservationOutlivesGarbageCollection(t *testing.T) {
	newLab(t) // reserves this host
	for range 3 {
		runtime.GC()
	}
	_, free, err := filelock.Try(reservationFile())
	require.NoError(t, err)
	assert.False(t, free)
}
