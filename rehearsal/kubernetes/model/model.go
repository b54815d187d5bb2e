// Package model is a Kubernetes cluster as far as the rehearsal needs one: its nodes, the kinds it serves,
// its objects with the managers that own their fields, and its Helm releases. An object is what was applied,
// and a release what Helm was asked for; package controllers makes of both what controllers would.
package model

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/store"
)

// File is the model's file below the rehearsal's state directory.
const File = "cluster.db"

// The kinds of things in the store; their ids begin with the cluster's.
const (
	clusterKind = "cluster"
	nodeKind    = "node"
	objectKind  = "object"
	releaseKind = "release"
	managedKind = "managed"
)

// Model is all clusters that ever were; package hosts knows which still answer.
type Model struct{ store *store.Store }

// Open names the model in a state directory; nothing is there before the first cluster.
func Open(stateDir string) *Model {
	return &Model{store.Open(filepath.Join(stateDir, File))}
}

// Info is what a cluster is made with, and the kinds it has learned since.
type Info struct {
	// ID is the cluster's own: two that were made one after the other at one address differ.
	ID string `json:"id"`
	// Version is that of Kubernetes, without "v".
	Version string `json:"version"`
	// Custom are the kinds of its custom resource definitions.
	Custom []kubernetes.API `json:"custom,omitempty"`
	// Bundles are the names of the bundles that they came in.
	Bundles []string `json:"bundles,omitempty"`
	// Down: the API server does not answer, though its machine does.
	Down bool `json:"down,omitempty"`
}

func (i Info) serves(apiVersion, kind string) (kubernetes.API, bool) {
	if api, ok := kubernetes.Builtin(apiVersion, kind); ok {
		return api, true
	}
	for _, api := range i.Custom {
		if api.APIVersion == apiVersion && api.Kind == kind {
			return api, true
		}
	}
	return kubernetes.API{}, false
}

// New makes a cluster with the namespaces that every cluster has.
func (m *Model) New(version string) (*Cluster, error) {
	c := &Cluster{id: randomHex(16), store: m.store}
	err := m.store.Update(func(tx *store.Tx) error {
		for _, name := range systemNamespaces {
			if err := c.addNamespace(tx, name, "kube-apiserver"); err != nil {
				return err
			}
		}
		return tx.Put(clusterKind, c.id, Info{ID: c.id, Version: version})
	})
	if err != nil {
		return nil, fmt.Errorf("making a cluster: %w", err)
	}
	return c, nil
}

// Cluster is one cluster by its id, whether or not it exists.
func (m *Model) Cluster(id string) *Cluster { return &Cluster{id: id, store: m.store} }

// Cluster is one cluster. It implements kubernetes.Cluster.
type Cluster struct {
	id    string
	store *store.Store
}

// owns says whether an id in the store is one of this cluster's.
func (c *Cluster) owns(id string) bool { return strings.HasPrefix(id, c.id+"|") }

// ID is the cluster's.
func (c *Cluster) ID() string { return c.id }

// Info reads what the cluster is.
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

// SetDown stops the API server, or starts it again.
func (c *Cluster) SetDown(down bool) error {
	return c.store.Update(func(tx *store.Tx) error {
		info, err := c.info(tx)
		if err != nil {
			return err
		}
		info.Down = down
		return tx.Put(clusterKind, c.id, info)
	})
}

// InstallBundle adds the kinds of one of kubernetes.Bundles, as applying its definitions does.
func (c *Cluster) InstallBundle(name string) error {
	return c.store.Update(func(tx *store.Tx) error { return c.installBundle(tx, name) })
}

func (c *Cluster) installBundle(tx *store.Tx, name string) error {
	apis, ok := kubernetes.Bundles[name]
	if !ok {
		return fmt.Errorf("installing custom resources: the model knows no bundle %q", name)
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

// AddNamespace makes a namespace that another manager than the program owns; it may exist.
func (c *Cluster) AddNamespace(name, manager string) error {
	return c.store.Update(func(tx *store.Tx) error { return c.addNamespace(tx, name, manager) })
}

func randomHex(characters int) string {
	raw := make([]byte, (characters+1)/2)
	_, _ = rand.Read(raw) // documented never to fail
	return hex.EncodeToString(raw)[:characters]
}
