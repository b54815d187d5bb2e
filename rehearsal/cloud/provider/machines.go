package provider

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
)

// Machines makes real machines follow the account. Without it, instances exist in the account only.
type Machines interface {
	// Apply returns when reality matches everything that was in the account before the call. It is called after each
	// change, by many goroutines at once. The ID is that of the VPC, instance or security group that the caller
	// changed: Apply returns only errors about that one, as those about others are returned to their own callers.
	Apply(ctx context.Context, id string) error
}

// applyToMachines calls Machines.Apply after a change of an object, if its type affects machines.
func (k *kind) applyToMachines(ctx context.Context, o aws.Object) error {
	if k.cloud.machines == nil || k.affects == nil {
		return nil
	}
	id := k.affects(o)
	if id == "" { // an elastic address without an instance
		return nil
	}
	return k.cloud.machines.Apply(ctx, id)
}

// partialError reports an object that exists in the account but is not ready.
func (k *kind) partialError(op Op, r *plugin.Request, o aws.Object, err error) error {
	return &plugin.PartialError{ID: o.ID(), Inputs: r.Inputs, Outputs: outputs(o), Reason: k.failed(op, o.ID(), err).Error()}
}

// fromState returns an object as it is in the engine's state, when it is no longer in the account.
func fromState(r *plugin.Request) aws.Object {
	o := aws.Object(r.State.MapRepl(nil, func(v resource.PropertyValue) (any, bool) { return nil, unknown(v) }))
	o["id"] = r.ID
	return o
}

// A create that boots a machine takes long enough for the engine to be killed meanwhile. The next run then creates the
// object again, as it is in no state. So each object records its URN, and under knownKey whether the engine has referred
// to it by its ID. Creating another object with the same URN first deletes the one that the engine never referred to; on
// AWS, a client token has a similar effect.
const knownKey = "_known"

// removeAbandoned deletes what a killed run left for the URN of an object that is being created again.
func (k *kind) removeAbandoned(t aws.Tx, r *plugin.Request) error {
	if k.cloud.machines == nil || k.affects == nil {
		return nil
	}
	found, err := t.Where(k.name, aws.URNKey, string(r.URN))
	if err != nil {
		return err
	}
	for _, o := range found {
		if o.Flag(knownKey) {
			continue
		}
		if k.remove != nil {
			if err := k.remove(&call{Tx: t, name: r.Name, obj: o, old: o}); err != nil {
				return err
			}
		}
		if err := t.Drop(k.name, o.ID()); err != nil {
			return err
		}
	}
	return nil
}

// markKnown records that the engine has an object in its state.
func (k *kind) markKnown(id string) error {
	if k.cloud.machines == nil || k.affects == nil {
		return nil
	}
	noted := false
	err := k.view(func(t aws.Tx) error {
		o, err := t.Find(k.name, id)
		noted = o == nil || o.Flag(knownKey)
		return err
	})
	if err != nil || noted {
		return err
	}
	return k.change(func(t aws.Tx) error {
		o, err := t.Find(k.name, id)
		if err != nil || o == nil {
			return err
		}
		o[knownKey] = true
		return t.Keep(k.name, o)
	})
}
