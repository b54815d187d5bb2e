// Package filelock locks a file between processes and between goroutines of one process. The kernel releases the lock
// when the process exits, so a killed run leaves no lock behind.
//
// Keep the function that releases a lock for as long as you need the lock: once it is unreachable, the garbage collector
// closes the file, which releases the lock.
package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollEvery is how long LockContext waits between two attempts.
const pollEvery = 50 * time.Millisecond

// Lock locks the file at path. It creates the file and its directory if they do not exist. It waits without limit while
// another process or goroutine holds the lock.
func Lock(path string) (unlock func(), err error) {
	return lock(path, syscall.LOCK_EX)
}

// LockContext is Lock, but waits until ctx is done at most. If it has to wait, it first calls waiting, unless that is
// nil.
func LockContext(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	for {
		unlock, free, err := Try(path)
		if err != nil || free {
			return unlock, err
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}

// Try is Lock, but does not wait: free is false if another process or goroutine holds the lock.
func Try(path string) (unlock func(), free bool, err error) {
	unlock, err = lock(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return unlock, err == nil, err
}

func lock(path string, how int) (unlock func(), err error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if err == nil {
			return func() { _ = file.Close() }, nil // nothing was written
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, file.Close())
		}
	}
}

func open(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
