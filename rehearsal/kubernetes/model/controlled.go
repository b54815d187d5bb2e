package model

import (
	"fmt"
	"slices"
	"time"

	"eco2/rehearsal/kubernetes"
	"eco2/rehearsal/store"
)

// Object is an object as controllers see it.
type Object struct {
	Ref  kubernetes.Ref
	UID  string
	Live kubernetes.Manifest
	// Deleted is when somebody deleted it, while a finalizer keeps it; otherwise zero.
	Deleted time.Time
}

// Holds says whether a finalizer keeps the object.
func (o Object) Holds(finalizer string) bool {
	metadata, _ := o.Live["metadata"].(map[string]any)
	list, _ := metadata["finalizers"].([]string)
	return slices.Contains(list, finalizer)
}

// List lists the objects, ordered by group, kind, namespace and name.
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

// SetStatus is a controller's word on an object; one that is gone has none.
func (c *Cluster) SetStatus(ref kubernetes.Ref, status kubernetes.Manifest) error {
	return c.amend(ref, func(o *object) { o.Status = status })
}

// Hold makes a deleted object wait for the finalizer's controller.
func (c *Cluster) Hold(ref kubernetes.Ref, finalizer string) error {
	return c.amend(ref, func(o *object) {
		if !slices.Contains(o.Finalizers, finalizer) {
			o.Finalizers = append(o.Finalizers, finalizer)
		}
	})
}

// LetGo lets go of an object: once nobody holds it, a deleted one is gone.
func (c *Cluster) LetGo(ref kubernetes.Ref, finalizer string) error {
	return c.amend(ref, func(o *object) {
		o.Finalizers = slices.DeleteFunc(o.Finalizers, func(f string) bool { return f == finalizer })
	})
}

func (c *Cluster) amend(ref kubernetes.Ref, change func(*object)) error {
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

// Manage makes an object what somebody keeps in Git: Argo CD makes it again whenever it is gone.
func (c *Cluster) Manage(manifest kubernetes.Manifest) error {
	ref := manifest.Ref()
	if ref.Name == "" {
		return fmt.Errorf("keeping a %s in Git: it has no name", ref.Kind)
	}
	return c.store.Update(func(tx *store.Tx) error { return tx.Put(managedKind, c.key(ref), manifest) })
}

// Managed lists what is kept in Git, ordered as objects are.
func (c *Cluster) Managed() (manifests []kubernetes.Manifest, err error) {
	err = c.store.View(func(tx *store.Tx) error {
		return store.Each(tx, managedKind, func(id string, m kubernetes.Manifest) error {
			if c.owns(id) {
				manifests = append(manifests, m)
			}
			return nil
		})
	})
	return manifests, err
}
