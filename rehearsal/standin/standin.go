// Package standin has the common code of the rehearsal's controllers. Each controller has its own package, replaces
// one of upstream's, and is run by cmd/standin.
package standin

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

// ProbeAddress is the default address for the kubelet's probes: /healthz for liveness, /readyz for readiness.
const ProbeAddress = ":8081"

// Run runs the controllers that add adds to a manager, in a pod, until ctx is done. If options have no probe address,
// it uses ProbeAddress. It never serves metrics.
func Run(ctx context.Context, options manager.Options, add func(manager.Manager) error) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	options.HealthProbeBindAddress = cmp.Or(options.HealthProbeBindAddress, ProbeAddress)
	options.Metrics = server.Options{BindAddress: "0"}
	// Release the lease at exit, so that the next pod need not wait until it expires.
	options.LeaderElectionReleaseOnCancel = true
	m, err := ctrl.NewManager(config, options)
	if err != nil {
		return fmt.Errorf("preparing the controllers: %w", err)
	}
	// Without at least one check each, the manager does not serve /healthz and /readyz.
	if err := errors.Join(m.AddHealthzCheck("ping", healthz.Ping), m.AddReadyzCheck("ping", healthz.Ping)); err != nil {
		return fmt.Errorf("preparing the probes: %w", err)
	}
	if err := add(m); err != nil {
		return err
	}
	return m.Start(ctx)
}

// NewScheme returns a scheme with the types that the functions, such as corev1.AddToScheme, add to it.
func NewScheme(add ...func(*runtime.Scheme) error) (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range add {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("preparing the client: %w", err)
		}
	}
	return scheme, nil
}
