// Package netspace calls functions in other network namespaces of this host, such as that of a machine.
package netspace

import (
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// In calls a function in a network namespace. Sockets that it opens stay there, and nothing else of this process is
// affected. The function must not start goroutines that open sockets: they would run here.
func In[T any](space netns.NsHandle, do func() (T, error)) (result T, err error) {
	done := make(chan struct{})
	go onceOnThread(func() {
		defer close(done)
		if err = netns.Set(space); err == nil {
			result, err = do()
		}
	})
	<-done
	return result, err
}

// InNew calls a function in a new network namespace, which programs that it runs are in, too.
func InNew(do func()) (err error) {
	done := make(chan struct{})
	go onceOnThread(func() {
		defer close(done)
		var space netns.NsHandle
		if space, err = netns.New(); err == nil {
			defer func() { _ = space.Close() }() // the thread is in it
			do()
		}
	})
	<-done
	return err
}

// onceOnThread calls a function on a thread that exits when the goroutine does, so no other goroutine gets its
// namespace. The main thread cannot exit, and /proc/net, by which everybody sees the sockets of this process' namespace,
// is that of the main thread: it is left to this goroutine until the function has run on another.
func onceOnThread(do func()) {
	runtime.LockOSThread() // without an unlock, so that the thread exits
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onceOnThread(do)
	}()
	<-done
	runtime.UnlockOSThread()
}
