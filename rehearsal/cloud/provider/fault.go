package provider

import (
	"errors"

	"eco2/rehearsal/cloud/aws"
	"eco2/rehearsal/engine/plugin"
	"eco2/rehearsal/internal/fault"
)

// throttled returns AWS's RequestLimitExceeded if a test planted that fault for this call. It stands for the provider
// having used up its retries.
func (k *kind) throttled(op Op, method string, r *plugin.Request) error {
	_, hit, err := fault.Trigger(k.cloud.stateDir, fault.Throttled, fault.Call{Method: method, Type: k.typ, Name: r.Name})
	if err != nil || !hit {
		return err
	}
	name := r.ID
	if op == Create {
		name = r.Name
	}
	return k.failed(op, name, aws.Refuse("RequestLimitExceeded", "Request limit exceeded."))
}

// unfinished returns the timeout of a wait if a test planted that fault for this call: AWS created the object, but it
// never becomes ready.
func (k *kind) unfinished(method string, r *plugin.Request) error {
	_, hit, err := fault.Trigger(k.cloud.stateDir, fault.Unfinished, fault.Call{Method: method, Type: k.typ, Name: r.Name})
	if err != nil || !hit {
		return err
	}
	return errors.New("waiting for completion: timeout while waiting for state to become 'running' (last state: 'pending')")
}
