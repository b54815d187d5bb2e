package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/fault"
)

// Cluster returns the cluster with its controllers: it calls Settle before reads and after writes.
func (c *Controllers) Cluster() provider.Cluster { return settlingCluster{c} }

type settlingCluster struct{ *Controllers }

func settled[T any](w settlingCluster, value T, err error) (T, error) {
	if err == nil {
		err = w.Settle()
	}
	return value, err
}

func (w settlingCluster) Get(ctx context.Context, ref provider.Ref) (provider.Manifest, error) {
	if err := w.Settle(); err != nil {
		return nil, err
	}
	return w.cluster.Get(ctx, ref)
}

func (w settlingCluster) Apply(ctx context.Context, manifest provider.Manifest, options provider.ApplyOptions) (provider.Manifest, error) {
	live, err := w.cluster.Apply(ctx, manifest, options)
	return settled(w, live, err)
}

// deleteWait is how long the provider waits until a deleted object no longer exists.
const deleteWait = 10 * time.Minute

// pollEvery is the interval at which the model checks whether a deleted object still exists.
const pollEvery = 50 * time.Millisecond

// Delete deletes an object and waits until it no longer exists, which its finalizers may delay.
func (w settlingCluster) Delete(ctx context.Context, ref provider.Ref) error {
	if err := w.cluster.Delete(ctx, ref); err != nil {
		return err
	}
	// At least a second, so that controllers without latency have done their work.
	deadline := time.Now().Add(max(w.latency.Of(deleteWait), time.Second))
	for {
		_, err := w.Get(ctx, ref)
		switch {
		case errors.Is(err, provider.ErrNotFound):
			return nil
		case err != nil:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%s was deleted but still exists: a finalizer is waiting for its controller", ref)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func (w settlingCluster) Release(ctx context.Context, namespace, name string) (provider.Release, error) {
	return w.cluster.Release(ctx, namespace, name)
}

func (w settlingCluster) Install(ctx context.Context, spec provider.ReleaseSpec) (provider.Release, error) {
	if err := w.injectedFault("Install", spec, "uninstalled"); err != nil {
		return provider.Release{}, err
	}
	release, err := w.cluster.Install(ctx, spec)
	return settled(w, release, err)
}

func (w settlingCluster) Upgrade(ctx context.Context, spec provider.ReleaseSpec) (provider.Release, error) {
	if err := w.injectedFault("Upgrade", spec, "rolled back"); err != nil {
		return provider.Release{}, err
	}
	release, err := w.cluster.Upgrade(ctx, spec)
	return settled(w, release, err)
}

func (w settlingCluster) Uninstall(ctx context.Context, spec provider.ReleaseSpec) error {
	if err := w.cluster.Uninstall(ctx, spec); err != nil {
		return err
	}
	return w.Settle()
}

// injectedFault returns Helm's error if a test planted a fault for this release. All releases are atomic: a failed one
// is rolled back, unless the API server is not reachable for that either.
func (w settlingCluster) injectedFault(method string, spec provider.ReleaseSpec, rollback string) error {
	for _, kind := range []fault.Kind{fault.NeverReady, fault.APIRestart, fault.APIGone} {
		_, hit, err := fault.Trigger(w.stateDir, kind, fault.Call{Method: method, Name: spec.Name})
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
			return fmt.Errorf("release %s failed: %s; and it could not be rolled back: %s", spec.Name, reason, reason)
		}
		return fmt.Errorf("release %s failed, and has been %s due to atomic being set: %s", spec.Name, rollback, reason)
	}
	return nil
}
