// Package incluster has what the rehearsal's controllers have in common. Each stands in for one of upstream's in the
// package of its name, and cmd/controllers runs them.
package incluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Probes is where controllers usually answer the kubelet: at /healthz while they live, at /readyz once they work.
const Probes = ":8081"

// Run runs controllers in a pod until the context ends. What is not set of the options is as it is everywhere here:
// probes at the usual port, no metrics. add brings the controllers.
func Run(ctx context.Context, options manager.Options, add func(manager.Manager) error) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	options.HealthProbeBindAddress = cmp.Or(options.HealthProbeBindAddress, Probes)
	options.Metrics = server.Options{BindAddress: "0"}
	// A pod that follows this one need not wait until it is believed dead.
	options.LeaderElectionReleaseOnCancel = true
	m, err := ctrl.NewManager(config, options)
	if err != nil {
		return fmt.Errorf("preparing the controllers: %w", err)
	}
	// Without one each, they would not be answered at all.
	if err := errors.Join(m.AddHealthzCheck("ping", healthz.Ping), m.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("preparing the probes: %w", err)
	}
	if err := add(m); err != nil {
		return err
	}
	return m.Start(ctx)
}

// Kinds is a scheme of what these packages have registered.
func Kinds(add ...func(*runtime.Scheme) error) (*runtime.Scheme, error) {
	kinds := runtime.NewScheme()
	for _, add := range add {
		if err := add(kinds); err != nil {
			return nil, fmt.Errorf("preparing the client: %w", err)
		}
	}
	return kinds, nil
}
