package filelock

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLockContextWaitsAndIsInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache", "lock")
	unlock, err := Lock(path)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 3*pollEvery)
	defer cancel()
	waits := 0
	_, err = LockContext(ctx, path, func() { waits++ })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 1, waits)

	time.AfterFunc(2*pollEvery, unlock)
	unlock, err = LockContext(t.Context(), path, nil)
	require.NoError(t, err)
	unlock()
}

func TestTryDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, free, err := Try(path)
	require.NoError(t, err)
	assert.True(t, free)
	_, free, err = Try(path)
	require.NoError(t, err)
	assert.False(t, free)
	unlock()
}
