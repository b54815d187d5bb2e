package model

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// Release implements provider.Cluster.
func (c *Cluster) Release(_ context.Context, namespace, name string) (release provider.Release, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		found, err := tx.Get(releaseKind, c.releaseKey(namespace, name), &release)
		if err == nil && !found {
			err = fmt.Errorf("release %s/%s %w", namespace, name, provider.ErrNotFound)
		}
		return err
	})
	return release, err
}

// Install implements provider.Cluster.
func (c *Cluster) Install(_ context.Context, spec provider.ReleaseSpec) (release provider.Release, err error) {
	err = c.store.Update(func(tx *store.Tx) error {
		if found, err := tx.Get(releaseKind, c.releaseKey(spec.Namespace, spec.Name), &release); err != nil || found {
			return cmp.Or(err, fmt.Errorf("cannot re-use a name that is still in use"))
		}
		if spec.CreateNamespace {
			if err := c.addNamespace(tx, spec.Namespace, helm); err != nil {
				return err
			}
		}
		if found, err := tx.Get(objectKind, c.key(namespaceRef(spec.Namespace)), &object{}); err != nil || !found {
			return cmp.Or(err, fmt.Errorf("namespaces %q not found", spec.Namespace))
		}
		if bundle := bundleOf(spec.Chart); bundle != "" && installsCRDs(spec) {
			if err := c.installBundle(tx, bundle); err != nil {
				return err
			}
		}
		release, err = c.deploy(tx, spec, 1)
		return err
	})
	return release, err
}

// Upgrade implements provider.Cluster. As with Helm, it does not install definitions.
func (c *Cluster) Upgrade(_ context.Context, spec provider.ReleaseSpec) (release provider.Release, err error) {
	err = c.store.Update(func(tx *store.Tx) error {
		found, err := tx.Get(releaseKind, c.releaseKey(spec.Namespace, spec.Name), &release)
		if err != nil || !found {
			return cmp.Or(err, fmt.Errorf("%q has no deployed releases", spec.Name))
		}
		if release.Status != deployed {
			return fmt.Errorf("another operation (install/upgrade/rollback) is in progress")
		}
		release, err = c.deploy(tx, spec, release.Revision+1)
		return err
	})
	return release, err
}

// Helm's names for the states of a release.
const (
	deployed = "deployed"
	pending  = "pending-install"
)

// AddPendingRelease records a release in the state pending-install, without objects. An install leaves it behind if the
// API server fails during it; the release's name is then taken.
func (c *Cluster) AddPendingRelease(spec provider.ReleaseSpec) error {
	return c.store.Update(func(tx *store.Tx) error {
		return tx.Put(releaseKind, c.releaseKey(spec.Namespace, spec.Name), provider.Release{
			Namespace: spec.Namespace, Name: spec.Name, Chart: chartName(spec.Chart), Version: spec.Version, Revision: 1, Status: pending,
		})
	})
}

// deploy applies the chart's objects and records a revision. It fails if the cluster does not serve the custom kinds of
// the chart's bundle, which the chart creates or its pods read.
func (c *Cluster) deploy(tx *store.Tx, spec provider.ReleaseSpec, revision int) (provider.Release, error) {
	info, err := c.info(tx)
	if err != nil {
		return provider.Release{}, err
	}
	for _, api := range provider.Bundles[bundleOf(spec.Chart)] {
		if _, served := info.serves(api.APIVersion, api.Kind); !served {
			return provider.Release{}, fmt.Errorf("chart %s needs its custom resource definitions first: %w", spec.Chart, noMatch(api.APIVersion, api.Kind))
		}
	}
	checksum, err := provider.Checksum(spec.Values)
	if err != nil {
		return provider.Release{}, err
	}
	release := provider.Release{
		Namespace: spec.Namespace, Name: spec.Name, Chart: chartName(spec.Chart), Version: spec.Version,
		Checksum: checksum, Revision: revision, Status: deployed,
	}
	if err := c.applyChart(tx, spec); err != nil {
		return provider.Release{}, err
	}
	return release, tx.Put(releaseKind, c.releaseKey(spec.Namespace, spec.Name), release)
}

// Uninstall implements provider.Cluster.
func (c *Cluster) Uninstall(_ context.Context, spec provider.ReleaseSpec) error {
	return c.store.Update(func(tx *store.Tx) error {
		key := c.releaseKey(spec.Namespace, spec.Name)
		var release provider.Release
		if found, err := tx.Get(releaseKind, key, &release); err != nil || !found {
			return cmp.Or(err, fmt.Errorf("release %s/%s %w", spec.Namespace, spec.Name, provider.ErrNotFound))
		}
		if err := c.deleteChart(tx, release); err != nil {
			return err
		}
		return tx.Delete(releaseKind, key)
	})
}

// Releases returns all releases, ordered by namespace and name.
func (c *Cluster) Releases() (releases []provider.Release, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		releases, err = c.releases(tx)
		return err
	})
	return releases, err
}

func (c *Cluster) releases(tx *store.Tx) (releases []provider.Release, err error) {
	err = store.Each(tx, releaseKind, func(id string, r provider.Release) error {
		if c.owns(id) {
			releases = append(releases, r)
		}
		return nil
	})
	return releases, err
}

func (c *Cluster) deleteReleases(tx *store.Tx, namespace string) error {
	releases, err := c.releases(tx)
	if err != nil {
		return err
	}
	for _, r := range releases {
		if r.Namespace == namespace {
			if err := tx.Delete(releaseKind, c.releaseKey(r.Namespace, r.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) releaseKey(namespace, name string) string {
	return strings.Join([]string{c.id, namespace, name}, "|")
}

// chartName returns the name of a chart: the last element of its reference, which is a name in a repository, an oci://
// URL or a path.
func chartName(chart string) string { return path.Base(strings.TrimSuffix(chart, ".tgz")) }

// bundleOf returns the name of the bundle of definitions that a chart needs; empty if there is none in
// provider.Bundles.
func bundleOf(chart string) string {
	name := chartName(chart)
	if _, ok := provider.Bundles[name]; ok {
		return name
	}
	return ""
}

// installsCRDs reports whether installing the chart installs its definitions. skipCrds disables those in its crds
// folder; a value disables those among its templates: installCRDs or crds.enabled in external-secrets and
// kube-prometheus-stack.
func installsCRDs(spec provider.ReleaseSpec) bool {
	crds, _ := spec.Values["crds"].(map[string]any)
	return !spec.SkipCRDs && spec.Values["installCRDs"] != false && crds["enabled"] != false
}
