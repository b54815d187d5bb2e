package live

import (
	"context"
	"time"

	"helm.sh/helm/v3/pkg/kube"
)

// interruptible wraps Helm's Kubernetes client so that it creates, changes and waits for nothing more once its context
// is done. Helm's own RunWithContext would continue the operation in the background, in parallel with its rollback.
type interruptible struct {
	*kube.Client
	// context returns the current operation's context. That of a rollback is never done.
	context func() context.Context
}

func (i interruptible) Create(resources kube.ResourceList) (*kube.Result, error) {
	if err := i.context().Err(); err != nil {
		return nil, err
	}
	return i.Client.Create(resources)
}

func (i interruptible) Update(original, target kube.ResourceList, force bool) (*kube.Result, error) {
	if err := i.context().Err(); err != nil {
		return &kube.Result{}, err // Helm reads the result also if there is an error
	}
	return i.Client.Update(original, target, force)
}

func (i interruptible) Wait(resources kube.ResourceList, timeout time.Duration) error {
	return i.wait(func() error { return i.Client.Wait(resources, timeout) })
}

func (i interruptible) WaitWithJobs(resources kube.ResourceList, timeout time.Duration) error {
	return i.wait(func() error { return i.Client.WaitWithJobs(resources, timeout) })
}

func (i interruptible) WatchUntilReady(resources kube.ResourceList, timeout time.Duration) error {
	return i.wait(func() error { return i.Client.WatchUntilReady(resources, timeout) })
}

// wait returns when the wait is over or the context is done. An abandoned wait continues until its timeout, but only
// reads.
func (i interruptible) wait(wait func() error) error {
	done := make(chan error, 1)
	go func() { done <- wait() }()
	select {
	case <-i.context().Done():
		return i.context().Err()
	case err := <-done:
		return err
	}
}
