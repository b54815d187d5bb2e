// Package kubernetes models the pulumi-kubernetes provider: what it checks, what replaces and what
// updates, and how it behaves without a cluster. What a cluster does is behind the interface Cluster, so
// that a model of a cluster and a real one are interchangeable.
package kubernetes

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Cluster is what the provider asks of a cluster. Its errors are worded as an API server or Helm words
// them; the ones that the provider reacts to are the types below.
type Cluster interface {
	// Get returns the object as it is, or ErrNotFound.
	Get(ctx context.Context, ref Ref) (Manifest, error)
	// Apply applies the manifest server-side, waits until the object is what it should be, and returns it as
	// it is then. The context's deadline ends the wait: what came of it is returned beside an UnreadyError.
	Apply(ctx context.Context, manifest Manifest, options ApplyOptions) (Manifest, error)
	// Delete removes the object and waits until it is gone, or returns ErrNotFound. The context's deadline
	// ends the wait.
	Delete(ctx context.Context, ref Ref) error

	// Release returns a Helm release, or ErrNotFound.
	Release(ctx context.Context, namespace, name string) (Release, error)
	// Install installs a release that does not exist yet. One that is there although it failed is returned
	// beside an UnreadyError.
	Install(ctx context.Context, spec ReleaseSpec) (Release, error)
	// Upgrade makes an existing release a new revision. What a failure leaves is returned beside an
	// UnreadyError.
	Upgrade(ctx context.Context, spec ReleaseSpec) (Release, error)
	// Uninstall removes the release that was installed from a spec, or returns ErrNotFound.
	Uninstall(ctx context.Context, spec ReleaseSpec) error
}

// Connect reaches the cluster of a kubeconfig. An error says that the cluster cannot be reached; it must
// not quote the kubeconfig, which holds the administrator's key.
type Connect func(ctx context.Context, endpoint Endpoint) (Cluster, error)

// ErrNotFound says that an object or release does not exist.
var ErrNotFound = errors.New("not found")

// UnreadyError reports an object or release that exists, but has not become what it should be.
type UnreadyError struct{ Reason error }

func (e *UnreadyError) Error() string { return e.Reason.Error() }

func (e *UnreadyError) Unwrap() error { return e.Reason }

// AlreadyExists refuses a new object for one that is there.
func AlreadyExists(ref Ref) error {
	return fmt.Errorf("%s already exists: import it, give the new one another name, or set upsertExistingObjects on the provider", ref)
}

// Manifest is an object in the form of its JSON.
type Manifest map[string]any

// Ref names one object. Namespace is empty for what belongs to the whole cluster.
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

// Group is the API group; the core group's is empty.
func (r Ref) Group() string {
	if group, _, ok := strings.Cut(r.APIVersion, "/"); ok {
		return group
	}
	return ""
}

// Ref reads an object's identity from its manifest.
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
	// Manager owns the fields that the manifest names.
	Manager string
	// Force takes fields over from other managers instead of failing.
	Force bool
	// New refuses an object that exists already.
	New bool
}

// ReleaseSpec is what a Helm release is installed or upgraded from.
type ReleaseSpec struct {
	Namespace, Name string
	// Chart is a name in Repository, an oci:// reference or a path.
	Chart, Version, Repository string
	// Values are the chart's values; they may hold secrets.
	Values map[string]any
	// SkipCRDs leaves out the chart's own custom resource definitions.
	SkipCRDs        bool
	CreateNamespace bool
	// SkipHooks leaves out the chart's hooks, which the provider calls webhooks.
	SkipHooks bool
	// Wait waits until the chart's objects are ready, or gone, for at most Timeout; WaitForJobs also until
	// its Jobs are done.
	Wait, WaitForJobs bool
	Timeout           time.Duration
	// Atomic takes back what fails: a first install goes, an upgrade goes back to the revision before.
	Atomic bool
	// CleanupOnFail deletes the objects that a failed upgrade was the first to bring.
	CleanupOnFail bool
	// MaxHistory is how many revisions are kept; 0 is all of them.
	MaxHistory int
}

// Release is a Helm release as the cluster records it.
type Release struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Chart     string `json:"chart"`
	Version   string `json:"version"`
	// AppVersion is empty where the chart was not read.
	AppVersion string `json:"appVersion,omitempty"`
	// Checksum identifies the values without giving them away.
	Checksum string `json:"checksum"`
	// Values are those that it was installed or upgraded with, where the cluster keeps them.
	Values map[string]any `json:"-"`
	// Revision counts from 1.
	Revision int `json:"revision"`
	// Status is Helm's word: "deployed".
	Status string `json:"status"`
}

// Checksum identifies values: SHA-256 of their JSON, in hex.
func Checksum(values map[string]any) (string, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("reading the values: %w", err)
	}
	return digest(string(data), 2*sha256.Size), nil
}
