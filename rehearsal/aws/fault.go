package aws

import (
	"errors"

	"eco2/rehearsal/fault"
	"eco2/rehearsal/plugin"
)

// throttled is AWS's refusal of too many calls, after the provider has tried as often as it does.
func (k *kind) throttled(op Op, method string, r *plugin.Request) error {
	_, hit, err := fault.Meet(k.cloud.stateDir, fault.Throttled, fault.Call{Method: method, Type: k.typ, Name: r.Name})
	if err != nil || !hit {
		return err
	}
	name := r.ID
	if op == Create {
		name = r.Name
	}
	return k.failed(op, name, refuse("RequestLimitExceeded", "Request limit exceeded."))
}

// unfinished is a thing that AWS has made and does not bring to its end.
func (k *kind) unfinished(method string, r *plugin.Request) error {
	_, hit, err := fault.Meet(k.cloud.stateDir, fault.Unfinished, fault.Call{Method: method, Type: k.typ, Name: r.Name})
	if err != nil || !hit {
		return err
	}
	return errors.New("waiting for completion: timeout while waiting for state to become 'running' (last state: 'pending')")
}
