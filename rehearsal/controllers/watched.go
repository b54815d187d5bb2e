package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"eco2/rehearsal/kubernetes"
)

// Watched is the cluster with its controllers at work: what it is asked for, they have looked at. It implements
// kubernetes.Cluster.
func (c *Controllers) Watched() kubernetes.Cluster { return watched{c} }

type watched struct{ *Controllers }

func settled[T any](w watched, value T, err error) (T, error) {
	if err == nil {
		err = w.Settle()
	}
	return value, err
}

func (w watched) Get(ctx context.Context, ref kubernetes.Ref) (kubernetes.Manifest, error) {
	if err := w.Settle(); err != nil {
		return nil, err
	}
	return w.cluster.Get(ctx, ref)
}

func (w watched) Apply(ctx context.Context, manifest kubernetes.Manifest, options kubernetes.ApplyOptions) (kubernetes.Manifest, error) {
	live, err := w.cluster.Apply(ctx, manifest, options)
	return settled(w, live, err)
}

// deleteWait is how long the provider waits for a deleted object to be gone.
const deleteWait = 10 * time.Minute

// pollEvery is how often the model looks whether a deleted object is gone.
const pollEvery = 50 * time.Millisecond

// Delete returns when the object is gone, which its finalizers may put off.
func (w watched) Delete(ctx context.Context, ref kubernetes.Ref) error {
	if err := w.cluster.Delete(ctx, ref); err != nil {
		return err
	}
	// At least a second, in which those that take no time have had their turn.
	deadline := time.Now().Add(max(w.latency.Of(deleteWait), time.Second))
	for {
		_, err := w.Get(ctx, ref)
		switch {
		case errors.Is(err, kubernetes.ErrNotFound):
			return nil
		case err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%s was deleted and is still there: a finalizer waits for its controller", ref)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (w watched) Release(ctx context.Context, namespace, name string) (kubernetes.Release, error) {
	return w.cluster.Release(ctx, namespace, name)
}

func (w watched) Install(ctx context.Context, spec kubernetes.ReleaseSpec) (kubernetes.Release, error) {
	release, err := w.cluster.Install(ctx, spec)
	return settled(w, release, err)
}

func (w watched) Upgrade(ctx context.Context, spec kubernetes.ReleaseSpec) (kubernetes.Release, error) {
	release, err := w.cluster.Upgrade(ctx, spec)
	return settled(w, release, err)
}

func (w watched) Uninstall(ctx context.Context, namespace, name string) error {
	if err := w.cluster.Uninstall(ctx, namespace, name); err != nil {
		return err
	}
	return w.Settle()
}
