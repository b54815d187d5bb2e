// Package provider models the pulumi-kubernetes provider: which inputs it accepts, which changes replace and
// which update an object, and what it does if the cluster cannot be reached. It reaches clusters through the
// interface Cluster, so package model (a simulated cluster) and package live (a real one) are interchangeable.
package provider

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Cluster performs the provider's operations on a cluster. Its errors have the wording of an API server or of Helm;
// the provider reacts to ErrNotFound and UnreadyError only.
type Cluster interface {
	// Get returns the object's current state, or ErrNotFound.
	Get(ctx context.Context, ref Ref) (Manifest, error)
	// Apply applies the manifest server-side, waits until the object is ready, and returns its state then. The
	// context's deadline ends the wait; Apply then returns the object as it is, with an UnreadyError.
	Apply(ctx context.Context, manifest Manifest, options ApplyOptions) (Manifest, error)
	// Delete deletes the object and waits until it is gone, or until the context's deadline. It returns
	// ErrNotFound if there is no such object.
	Delete(ctx context.Context, ref Ref) error

	// Release returns a Helm release, or ErrNotFound.
	Release(ctx context.Context, namespace, name string) (Release, error)
	// Install installs a release that does not exist yet. If the install fails and leaves a release, it returns
	// that release with an UnreadyError.
	Install(ctx context.Context, spec ReleaseSpec) (Release, error)
	// Upgrade upgrades an existing release to a new revision. If it fails, it returns the release as it is then,
	// with an UnreadyError.
	Upgrade(ctx context.Context, spec ReleaseSpec) (Release, error)
	// Uninstall uninstalls a release, or returns ErrNotFound.
	Uninstall(ctx context.Context, spec ReleaseSpec) error
}

// Connect connects to the cluster of an endpoint. An error means that the cluster cannot be reached; it must not
// quote the kubeconfig, which holds the administrator's key.
type Connect func(ctx context.Context, endpoint Endpoint) (Cluster, error)

// ErrNotFound reports that an object or a release does not exist.
var ErrNotFound = errors.New("not found")

// UnreadyError reports an object or release that exists but is not ready, or whose operation failed.
type UnreadyError struct{ Reason error }

func (e *UnreadyError) Error() string { return e.Reason.Error() }

func (e *UnreadyError) Unwrap() error { return e.Reason }

// AlreadyExists returns the error of a create whose object exists already.
func AlreadyExists(ref Ref) error {
	return fmt.Errorf("%s already exists: import it, give the new one another name, or set upsertExistingObjects on the provider", ref)
}

// Manifest is an object as its decoded JSON.
type Manifest map[string]any

// Ref identifies one object. Namespace is empty for a cluster-scoped one.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name"`
}

func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name)
}

// Group returns the API group, which is empty for the core group.
func (r Ref) Group() string {
	if group, _, ok := strings.Cut(r.APIVersion, "/"); ok {
		return group
	}
	return ""
}

// Ref returns the identity of the manifest's object.
func (m Manifest) Ref() Ref {
	metadata, _ := m["metadata"].(map[string]any)
	text := func(from map[string]any, key string) string { s, _ := from[key].(string); return s }
	return Ref{
		APIVersion: text(m, "apiVersion"), Kind: text(m, "kind"),
		Namespace: text(metadata, "namespace"), Name: text(metadata, "name"),
	}
}

// ApplyOptions says how to apply a manifest.
type ApplyOptions struct {
	// Manager is the field manager that owns the manifest's fields.
	Manager string
	// Force takes over fields from other managers; without it their conflicts are an error.
	Force bool
	// CreateOnly makes it an error if the object exists already.
	CreateOnly bool
}

// ReleaseSpec holds the inputs of a Helm install, upgrade or uninstall.
type ReleaseSpec struct {
	Namespace, Name string
	// Chart is a chart's name in Repository, an oci:// reference or a path.
	Chart, Version, Repository string
	// Values holds the chart's values, which may be secret.
	Values map[string]any
	// SkipCRDs leaves out the custom resource definitions in the chart's crds folder.
	SkipCRDs        bool
	CreateNamespace bool
	// SkipHooks disables the chart's hooks; the provider's input for it is disableWebhooks.
	SkipHooks bool
	// Wait waits until the chart's objects are ready, or deleted, for at most Timeout. WaitForJobs also waits
	// until its Jobs have completed.
	Wait, WaitForJobs bool
	Timeout           time.Duration
	// Atomic undoes a failed operation: an install is uninstalled, an upgrade is rolled back to the revision before.
	Atomic bool
	// CleanupOnFail deletes the objects that a failed upgrade created.
	CleanupOnFail bool
	// MaxHistory is how many revisions are kept; 0 keeps all.
	MaxHistory int
}

// Release is a Helm release as the cluster records it.
type Release struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Chart     string `json:"chart"`
	Version   string `json:"version"`
	// AppVersion is empty if the chart was not read, as in package model.
	AppVersion string `json:"appVersion,omitempty"`
	// Checksum identifies the values without disclosing them.
	Checksum string `json:"checksum"`
	// Values holds the values of this revision; nil if the cluster does not record them.
	Values map[string]any `json:"-"`
	// Revision counts from 1.
	Revision int `json:"revision"`
	// Status is Helm's status of the release, such as "deployed".
	Status string `json:"status"`
}

// Checksum returns the SHA-256 of the values' JSON, in hex.
func Checksum(values map[string]any) (string, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("reading the values: %w", err)
	}
	return digest(string(data), 2*sha256.Size), nil
}
