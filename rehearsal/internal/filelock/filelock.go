// Package filelock locks a file between processes and between goroutines of one process. The kernel releases the lock
// when the process exits, so a killed run leaves no lock behind.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// Lock locks the file at path. It creates the file if it does not exist; the directory must exist. It waits without
// limit while another process or goroutine holds the lock.
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
