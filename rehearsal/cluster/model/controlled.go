package model

import (
	"fmt"
	"slices"
	"time"

	"eco2/rehearsal/cluster/provider"
	"eco2/rehearsal/internal/store"
)

// Object is an object with what a controller needs to know about it.
type Object struct {
	Ref  provider.Ref
	UID  string
	Live provider.Manifest
	// Deleted is the deletion timestamp of an object that still has finalizers; zero if nobody deleted it.
	Deleted time.Time
}

// HasFinalizer reports whether the object has a finalizer.
func (o Object) HasFinalizer(finalizer string) bool {
	metadata, _ := o.Live["metadata"].(map[string]any)
	list, _ := metadata["finalizers"].([]string)
	return slices.Contains(list, finalizer)
}

// List returns all objects, ordered by group, kind, namespace and name.
func (c *Cluster) List() (objects []Object, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		return c.each(tx, func(o object) {
			seen := Object{Ref: o.Ref, UID: o.UID, Live: o.live()}
			if o.Deleted != nil {
				seen.Deleted = *o.Deleted
			}
			objects = append(objects, seen)
		})
	})
	return objects, err
}

// SetStatus sets an object's status, as its controller does. It does nothing if the object does not exist.
func (c *Cluster) SetStatus(ref provider.Ref, status provider.Manifest) error {
	return c.update(ref, func(o *object) { o.Status = status })
}

// AddFinalizer adds a finalizer to an object: when it is deleted, it stays until RemoveFinalizer.
func (c *Cluster) AddFinalizer(ref provider.Ref, finalizer string) error {
	return c.update(ref, func(o *object) {
		if !slices.Contains(o.Finalizers, finalizer) {
			o.Finalizers = append(o.Finalizers, finalizer)
		}
	})
}

// RemoveFinalizer removes a finalizer from an object. A deleted object without finalizers is gone.
func (c *Cluster) RemoveFinalizer(ref provider.Ref, finalizer string) error {
	return c.update(ref, func(o *object) {
		o.Finalizers = slices.DeleteFunc(o.Finalizers, func(f string) bool { return f == finalizer })
	})
}

func (c *Cluster) update(ref provider.Ref, change func(*object)) error {
	return c.store.Update(func(tx *store.Tx) error {
		var o object
		found, err := tx.Get(objectKind, c.key(ref), &o)
		if err != nil || !found {
			return err
		}
		change(&o)
		if o.Deleted != nil {
			return c.remove(tx, o)
		}
		return tx.Put(objectKind, c.key(ref), o)
	})
}

// AddToGit adds an object's manifest to those that are kept in Git. Argo CD creates the object again whenever it is
// missing.
func (c *Cluster) AddToGit(manifest provider.Manifest) error {
	ref := manifest.Ref()
	if ref.Name == "" {
		return fmt.Errorf("adding a %s to Git: it has no name", ref.Kind)
	}
	return c.store.Update(func(tx *store.Tx) error { return tx.Put(managedKind, c.key(ref), manifest) })
}

// InGit returns the manifests that are kept in Git, ordered by group, kind, namespace and name.
func (c *Cluster) InGit() (manifests []provider.Manifest, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		return store.Each(tx, managedKind, func(id string, m provider.Manifest) error {
			if c.owns(id) {
				manifests = append(manifests, m)
			}
			return nil
		})
	})
	return manifests, err
}
