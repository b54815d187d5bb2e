package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"eco2/rehearsal/fault"
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
	if err := w.hindered("Install", spec, "uninstalled"); err != nil {
		return kubernetes.Release{}, err
	}
	release, err := w.cluster.Install(ctx, spec)
	return settled(w, release, err)
}

func (w watched) Upgrade(ctx context.Context, spec kubernetes.ReleaseSpec) (kubernetes.Release, error) {
	if err := w.hindered("Upgrade", spec, "rolled back"); err != nil {
		return kubernetes.Release{}, err
	}
	release, err := w.cluster.Upgrade(ctx, spec)
	return settled(w, release, err)
}

func (w watched) Uninstall(ctx context.Context, spec kubernetes.ReleaseSpec) error {
	if err := w.cluster.Uninstall(ctx, spec); err != nil {
		return err
	}
	return w.Settle()
}

// hindered is Helm's error where a planted fault meets a release. All releases are atomic: what fails is taken
// back, for as long as there is an API server to take it back through.
func (w watched) hindered(method string, spec kubernetes.ReleaseSpec, takenBack string) error {
	for _, kind := range []fault.Kind{fault.NeverReady, fault.APIRestart, fault.APIGone} {
		_, hit, err := fault.Meet(w.stateDir, kind, fault.Call{Method: method, Name: spec.Name})
		if err != nil {
			return err
		}
		if !hit {
			continue
		}
		reason := "context deadline exceeded"
		if kind != fault.NeverReady {
			reason = "dial tcp: connect: connection refused"
		}
		if kind == fault.APIGone {
			if err := w.cluster.AddPendingRelease(spec); err != nil {
				return err
			}
			return fmt.Errorf("release %s failed: %s; and it could not be taken back: %s", spec.Name, reason, reason)
		}
		return fmt.Errorf("release %s failed, and has been %s due to atomic being set: %s", spec.Name, takenBack, reason)
	}
	return nil
}
