// Package filelock locks a file between processes and between goroutines of one process. The kernel releases the lock
// when its process ends, so a run that was killed leaves none behind.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// Lock waits, without a bound, until nobody else holds the lock of the file at path, which it creates if need be. Its
// directory must exist.
func Lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if err == nil {
			return func() { _ = file.Close() }, nil // nothing was written
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, file.Close())
		}
	}
}
