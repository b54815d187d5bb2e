package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/cli"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"eco2/rehearsal/cluster/provider"
)

// helm runs one Helm operation on one release.
type helm struct {
	*action.Configuration
	cluster *Cluster
	spec    provider.ReleaseSpec

	mu sync.Mutex
	// context is done when the user interrupts. It is ignored during a rollback, which must not be interrupted.
	context     context.Context
	rollingBack bool
	// waitingFor is what Helm last reported as not ready before it began a rollback.
	waitingFor string
	// undeleted is what an uninstall could not delete, and why.
	undeleted string
}

func (c *Cluster) helm(ctx context.Context, spec provider.ReleaseSpec) (*helm, error) {
	h := &helm{Configuration: &action.Configuration{}, cluster: c, spec: spec, context: ctx}
	known := memory.NewMemCacheClient(c.discovery)
	reach := getter{cluster: c, namespace: spec.Namespace, known: known, mapper: restmapper.NewDeferredDiscoveryRESTMapper(known)}
	if err := h.Init(reach, spec.Namespace, "secret", h.log); err != nil {
		return nil, fmt.Errorf("starting Helm: %w", err)
	}
	client, ok := h.KubeClient.(*kube.Client)
	if !ok {
		return nil, fmt.Errorf("starting Helm: its client is a %T", h.KubeClient)
	}
	h.KubeClient = interruptible{client, h.currentContext}
	return h, nil
}

// currentContext returns the context for what Helm is doing now.
func (h *helm) currentContext() context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rollingBack {
		return context.WithoutCancel(h.context)
	}
	return h.context
}

// log receives Helm's debug messages. It recognizes the start of a rollback by them, what Helm waits for, and why it
// could not delete something: Helm reports these in no other way.
func (h *helm) log(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case strings.Contains(format, "atomic is set"):
		h.rollingBack = true
	case strings.HasPrefix(format, "uninstall: Failed to delete release"):
		h.undeleted = strings.TrimPrefix(fmt.Sprintf(format, args...), "uninstall: Failed to delete release: ")
	case !h.rollingBack && (strings.Contains(format, " is not ") || strings.Contains(format, "does not have")):
		h.waitingFor = fmt.Sprintf(format, args...)
	}
}

// failed adds to Helm's error what Helm waited for and what it could not delete, and removes the release's values.
func (h *helm) failed(err error) error {
	if err == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waitingFor != "" {
		err = fmt.Errorf("%w; Helm last waited for this: %s", err, h.waitingFor)
	}
	if h.undeleted != "" {
		err = fmt.Errorf("%w: %s", err, h.undeleted)
	}
	return withoutSecrets(err, h.spec.Values, h.spec.Name, h.spec.Namespace, h.spec.Chart, h.spec.Version, h.spec.Repository)
}

// Release implements provider.Cluster.
func (c *Cluster) Release(ctx context.Context, namespace, name string) (provider.Release, error) {
	h, err := c.helm(ctx, provider.ReleaseSpec{Namespace: namespace, Name: name})
	if err != nil {
		return provider.Release{}, err
	}
	last, err := h.Releases.Last(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return provider.Release{}, fmt.Errorf("release %s/%s %w", namespace, name, provider.ErrNotFound)
	}
	if err != nil {
		return provider.Release{}, err
	}
	return releaseOf(last)
}

// releaseOf converts Helm's record of a release.
func releaseOf(r *release.Release) (provider.Release, error) {
	values := r.Config
	if values == nil {
		values = map[string]any{}
	}
	checksum, err := provider.Checksum(values)
	if err != nil {
		return provider.Release{}, err
	}
	out := provider.Release{
		Namespace: r.Namespace, Name: r.Name, Checksum: checksum, Values: values,
		Revision: r.Version, Status: r.Info.Status.String(),
	}
	if r.Chart != nil && r.Chart.Metadata != nil {
		out.Chart, out.Version, out.AppVersion = r.Chart.Name(), r.Chart.Metadata.Version, r.Chart.AppVersion()
	}
	return out, nil
}

// Install implements provider.Cluster.
func (c *Cluster) Install(ctx context.Context, spec provider.ReleaseSpec) (provider.Release, error) {
	return c.deploy(ctx, spec, func(h *helm) (*release.Release, error) {
		install := action.NewInstall(h.Configuration)
		install.ReleaseName, install.Namespace, install.CreateNamespace = spec.Name, spec.Namespace, spec.CreateNamespace
		install.SkipCRDs, install.DisableHooks = spec.SkipCRDs, spec.SkipHooks
		install.Wait, install.WaitForJobs, install.Timeout = spec.Wait, spec.WaitForJobs, spec.Timeout
		install.Atomic = spec.Atomic
		chart, err := h.chart(&install.ChartPathOptions, install.SetRegistryClient)
		if err != nil {
			return nil, err
		}
		return install.Run(chart, runtime.DeepCopyJSON(spec.Values))
	})
}

// Upgrade implements provider.Cluster.
func (c *Cluster) Upgrade(ctx context.Context, spec provider.ReleaseSpec) (provider.Release, error) {
	return c.deploy(ctx, spec, func(h *helm) (*release.Release, error) {
		upgrade := action.NewUpgrade(h.Configuration)
		upgrade.Namespace, upgrade.DisableHooks = spec.Namespace, spec.SkipHooks
		upgrade.Wait, upgrade.WaitForJobs, upgrade.Timeout = spec.Wait, spec.WaitForJobs, spec.Timeout
		upgrade.Atomic, upgrade.CleanupOnFail, upgrade.MaxHistory = spec.Atomic, spec.CleanupOnFail, spec.MaxHistory
		chart, err := h.chart(&upgrade.ChartPathOptions, upgrade.SetRegistryClient)
		if err != nil {
			return nil, err
		}
		return upgrade.Run(spec.Name, chart, runtime.DeepCopyJSON(spec.Values))
	})
}

// deploy runs an install or an upgrade. If it fails after Helm recorded the release, deploy returns Helm's latest
// record with an UnreadyError.
func (c *Cluster) deploy(ctx context.Context, spec provider.ReleaseSpec, run func(*helm) (*release.Release, error)) (provider.Release, error) {
	h, err := c.helm(ctx, spec)
	if err != nil {
		return provider.Release{}, err
	}
	deployed, err := run(h)
	if err == nil {
		return releaseOf(deployed)
	}
	err = h.failed(err)
	if deployed == nil {
		return provider.Release{}, err
	}
	last, lookup := h.Releases.Last(spec.Name)
	if lookup != nil {
		return provider.Release{}, err // nothing is left, or the records cannot be read
	}
	left, lookup := releaseOf(last)
	if lookup != nil {
		return provider.Release{}, errors.Join(err, lookup)
	}
	return left, &provider.UnreadyError{Reason: err}
}

// Uninstall implements provider.Cluster.
func (c *Cluster) Uninstall(ctx context.Context, spec provider.ReleaseSpec) error {
	h, err := c.helm(ctx, spec)
	if err != nil {
		return err
	}
	uninstall := action.NewUninstall(h.Configuration)
	uninstall.Wait, uninstall.Timeout, uninstall.DisableHooks = spec.Wait || spec.Atomic, spec.Timeout, spec.SkipHooks
	done := make(chan error, 1)
	go func() {
		_, err := uninstall.Run(spec.Name)
		done <- err
	}()
	select {
	case <-ctx.Done():
		return errors.New("interrupted: Helm may not have deleted everything")
	case err := <-done:
		if errors.Is(err, driver.ErrReleaseNotFound) {
			return fmt.Errorf("release %s/%s %w", spec.Namespace, spec.Name, provider.ErrNotFound)
		}
		return h.failed(err)
	}
}

// chart downloads and loads the release's chart. It ignores Helm's settings and caches in the user's home directory.
func (h *helm) chart(from *action.ChartPathOptions, through func(*registry.Client)) (*chart.Chart, error) {
	dir, err := os.MkdirTemp("", "eco2-chart-")
	if err != nil {
		return nil, fmt.Errorf("downloading chart %s: %w", h.spec.Chart, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	settings := cli.New()
	settings.RepositoryCache, settings.PluginsDirectory = dir, filepath.Join(dir, "plugins")
	settings.RepositoryConfig, settings.RegistryConfig = filepath.Join(dir, "repositories.yaml"), filepath.Join(dir, "registry.json")
	client, err := registry.NewClient(registry.ClientOptCredentialsFile(settings.RegistryConfig), registry.ClientOptWriter(io.Discard))
	if err != nil {
		return nil, fmt.Errorf("downloading chart %s: %w", h.spec.Chart, err)
	}
	through(client)
	from.RepoURL, from.Version = h.spec.Repository, h.spec.Version
	path, err := from.LocateChart(h.spec.Chart, settings)
	if err != nil {
		return nil, fmt.Errorf("downloading chart %s: %w", h.spec.Chart, err)
	}
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("reading chart %s: %w", h.spec.Chart, err)
	}
	if kind := loaded.Metadata.Type; kind != "" && kind != "application" {
		return nil, fmt.Errorf("chart %s cannot be installed: it is of type %s", h.spec.Chart, kind)
	}
	if err := action.CheckDependencies(loaded, loaded.Metadata.Dependencies); err != nil {
		return nil, fmt.Errorf("chart %s is incomplete: %w", h.spec.Chart, err)
	}
	return loaded, nil
}

// getter gives Helm access to the cluster. Each operation has its own, with an empty discovery cache, because
// definitions may have been installed since the last release.
type getter struct {
	cluster   *Cluster
	namespace string
	known     discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

func (g getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.cluster.config), nil }

func (g getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) { return g.known, nil }

func (g getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper, nil }

// ToRawKubeConfigLoader returns the kubeconfig with the release's namespace as the default.
func (g getter) ToRawKubeConfigLoader() clientcmd.ClientConfig { return g.cluster.client(g.namespace) }
