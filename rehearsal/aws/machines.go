package aws

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/plugin"
)

// Machines makes what runs follow what the account says. Without them, machines exist in the account alone.
type Machines interface {
	// Apply returns when everything that was in the account before the call is so in reality. It is called
	// after each change, by many goroutines at once. The id, of a VPC, an instance or a security group, says
	// what the caller answers for: the errors of others are left to those.
	Apply(ctx context.Context, id string) error
}

// real makes an object's change real, if anything real hangs on objects of its kind.
func (k *kind) real(ctx context.Context, o object) error {
	if k.cloud.machines == nil || k.machines == nil {
		return nil
	}
	id := k.machines(o)
	if id == "" { // an address that is nobody's
		return nil
	}
	return k.cloud.machines.Apply(ctx, id)
}

// partly reports an object that exists in the account, and is not yet what it should be.
func (k *kind) partly(op Op, r *plugin.Request, o object, err error) error {
	return &plugin.PartialError{ID: o.id(), Inputs: r.Inputs, Outputs: o.outputs(), Reason: k.failed(op, o.id(), err).Error()}
}

// remembered is an object as the engine remembers it, when the account has it no more.
func remembered(r *plugin.Request) object {
	o := object(r.State.MapRepl(nil, func(v resource.PropertyValue) (any, bool) { return nil, unknown(v) }))
	o["id"] = r.ID
	return o
}

// A create that boots a machine takes long enough to be killed, and what the engine never heard of it makes again.
// So an object is kept under its URN until the engine names it by its id: whoever makes another one under that URN
// takes the place of what a killed run left, as a call with the same client token does at AWS.
const (
	urnKey   = "_urn"
	knownKey = "_known"
)

// abandoned removes what a killed run left under the URN of an object that is made again.
func (k *kind) abandoned(t tx, r *plugin.Request) error {
	if k.cloud.machines == nil || k.machines == nil {
		return nil
	}
	found, err := t.where(k.name, urnKey, string(r.URN))
	if err != nil {
		return err
	}
	for _, o := range found {
		if o.flag(knownKey) {
			continue
		}
		if k.remove != nil {
			if err := k.remove(&call{tx: t, name: r.Name, it: o, old: o}); err != nil {
				return err
			}
		}
		if err := t.drop(k.name, o.id()); err != nil {
			return err
		}
	}
	return nil
}

// known notes that the engine has an object in its state.
func (k *kind) known(id string) error {
	if k.cloud.machines == nil || k.machines == nil {
		return nil
	}
	noted := false
	err := k.view(func(t tx) error {
		o, err := t.get(k.name, id)
		noted = o == nil || o.flag(knownKey)
		return err
	})
	if err != nil || noted {
		return err
	}
	return k.change(func(t tx) error {
		o, err := t.get(k.name, id)
		if err != nil || o == nil {
			return err
		}
		o[knownKey] = true
		return t.put(k.name, o)
	})
}
