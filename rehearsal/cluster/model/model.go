// Package model simulates a Kubernetes cluster as far as the rehearsal needs one: its nodes, the kinds it serves, its
// objects with their field managers, and its Helm releases. It only stores the applied manifests and the releases'
// inputs; package controllers simulates what controllers do with them.
package model

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// File is the name of the model's file in the rehearsal's state directory.
const File = "cluster.db"

// The kinds of records in the store. Each record's id begins with its cluster's id.
const (
	clusterKind = "cluster"
	nodeKind    = "node"
	objectKind  = "object"
	releaseKind = "release"
	managedKind = "managed"
)

// Model holds all clusters that were ever created. Package hosts knows which of them still exist.
type Model struct{ store *store.Store }

// Open opens the model in a state directory. The file is created with the first cluster.
func Open(stateDir string) *Model {
	return &Model{store.Open(filepath.Join(stateDir, File))}
}

// Info describes a cluster: how it was created, and the custom kinds that were installed since.
type Info struct {
	// ID is unique: it distinguishes clusters that were created one after the other at one address.
	ID string `json:"id"`
	// Version is the Kubernetes version without "v".
	Version string `json:"version"`
	// CertificatesExpire is when the control plane's certificates expire.
	CertificatesExpire time.Time `json:"certificatesExpire"`
	// Custom lists the kinds of its custom resource definitions.
	Custom []provider.API `json:"custom,omitempty"`
	// Bundles lists the installed bundles, by their names in provider.Bundles.
	Bundles []string `json:"bundles,omitempty"`
	// Down says that the API server does not answer, although its machine does.
	Down bool `json:"down,omitempty"`
}

func (i Info) serves(apiVersion, kind string) (provider.API, bool) {
	if api, ok := provider.Builtin(apiVersion, kind); ok {
		return api, true
	}
	for _, api := range i.Custom {
		if api.APIVersion == apiVersion && api.Kind == kind {
			return api, true
		}
	}
	return provider.API{}, false
}

// New creates a cluster with the namespaces that every cluster has.
func (m *Model) New(version string) (*Cluster, error) {
	c := &Cluster{id: randomHex(16), store: m.store}
	err := m.store.Update(func(tx *store.Tx) error {
		for _, name := range systemNamespaces {
			if err := c.addNamespace(tx, name, "kube-apiserver"); err != nil {
				return err
			}
		}
		return tx.Put(clusterKind, c.id, Info{ID: c.id, Version: version, CertificatesExpire: YearFromNow()})
	})
	if err != nil {
		return nil, fmt.Errorf("creating a cluster: %w", err)
	}
	return c, nil
}

// Cluster returns the cluster with an id, without checking that it exists.
func (m *Model) Cluster(id string) *Cluster { return &Cluster{id: id, store: m.store} }

// Cluster is one simulated cluster. It implements provider.Cluster.
type Cluster struct {
	id    string
	store *store.Store
}

// owns reports whether the record with an id belongs to this cluster.
func (c *Cluster) owns(id string) bool { return strings.HasPrefix(id, c.id+"|") }

// ID returns the cluster's id.
func (c *Cluster) ID() string { return c.id }

// Info reads the cluster's description.
func (c *Cluster) Info() (info Info, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		info, err = c.info(tx)
		return err
	})
	return info, err
}

func (c *Cluster) info(tx *store.Tx) (info Info, err error) {
	found, err := tx.Get(clusterKind, c.id, &info)
	if err == nil && !found {
		err = fmt.Errorf("reading cluster %s: there is no such cluster in the model", c.id)
	}
	return info, err
}

// YearFromNow returns the time until which kubeadm makes certificates valid, as exactly as a certificate says it.
func YearFromNow() time.Time { return time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second) }

// SetCertificatesExpire changes when the control plane's certificates expire.
func (c *Cluster) SetCertificatesExpire(at time.Time) error {
	return c.change(func(info *Info) { info.CertificatesExpire = at })
}

// SetVersion changes the version of the control plane.
func (c *Cluster) SetVersion(version string) error {
	return c.change(func(info *Info) { info.Version = version })
}

func (c *Cluster) change(to func(*Info)) error {
	return c.store.Update(func(tx *store.Tx) error {
		info, err := c.info(tx)
		if err != nil {
			return err
		}
		to(&info)
		return tx.Put(clusterKind, c.id, info)
	})
}

// SetDown stops the API server, or starts it.
func (c *Cluster) SetDown(down bool) error {
	return c.change(func(info *Info) { info.Down = down })
}

// InstallBundle adds the kinds of one of provider.Bundles, as applying its definitions would.
func (c *Cluster) InstallBundle(name string) error {
	return c.store.Update(func(tx *store.Tx) error { return c.installBundle(tx, name) })
}

func (c *Cluster) installBundle(tx *store.Tx, name string) error {
	apis, ok := provider.Bundles[name]
	if !ok {
		return fmt.Errorf("installing custom resources: there is no bundle %q in kubernetes.Bundles", name)
	}
	info, err := c.info(tx)
	if err != nil {
		return err
	}
	for _, api := range apis {
		if _, served := info.serves(api.APIVersion, api.Kind); !served {
			info.Custom = append(info.Custom, api)
		}
	}
	if !slices.Contains(info.Bundles, name) {
		info.Bundles = append(info.Bundles, name)
	}
	return tx.Put(clusterKind, c.id, info)
}

// AddNamespace creates a namespace for a manager that is not the program. It does nothing if the namespace exists.
func (c *Cluster) AddNamespace(name, manager string) error {
	return c.store.Update(func(tx *store.Tx) error { return c.addNamespace(tx, name, manager) })
}

func randomHex(characters int) string {
	raw := make([]byte, (characters+1)/2)
	_, _ = rand.Read(raw) // documented never to fail
	return hex.EncodeToString(raw)[:characters]
}
