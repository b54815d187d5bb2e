package live

import (
	"context"
	"time"

	"helm.sh/helm/v3/pkg/kube"
)

// interruptible is Helm's client, which makes and changes nothing more, and waits for nothing, once its context has
// ended. Helm's own way to be interrupted goes on in the background with what it had begun, beside what it takes
// back.
type interruptible struct {
	*kube.Client
	// context is that of the moment: what is taken back is not interrupted.
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
		return &kube.Result{}, err // Helm reads what was made also where there is an error
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

// wait leaves a wait when it is interrupted. What it leaves only looks, until its timeout.
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
