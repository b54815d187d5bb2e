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

// gone is an object as the engine remembers it.
func gone(r *plugin.Request) object {
	o := object(r.State.MapRepl(nil, func(v resource.PropertyValue) (any, bool) { return nil, unknown(v) }))
	o["id"] = r.ID
	return o
}
