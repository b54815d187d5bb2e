package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"eco2/rehearsal/cloud/aws"
)

// Caller calls the API in the role of an instance, without a network. The models of controllers use it, so they have
// the same permissions, and get the same errors, as the real controllers.
type Caller struct {
	Account  *aws.Account
	Instance aws.Instance
	// Provision is how long AWS takes to activate a new load balancer, Release how long it keeps the interfaces of a
	// deleted one.
	Provision, Release time.Duration
}

// Call calls an operation of a service that speaks JSON.
func (c Caller) Call(_ context.Context, service, target string, in, out any) error {
	made, err := c.call(service)
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding the input of %s: %w", target, err)
	}
	operation, ok := operations[target]
	if !ok || operation.service != service {
		return refuse("UnknownOperationException", "%s is not an operation that the rehearsal's %s supports", target, service)
	}
	answer, err := operation.run(made, body)
	if err != nil || out == nil {
		return err
	}
	if body, err = json.Marshal(answer); err == nil {
		err = json.Unmarshal(body, out)
	}
	return err
}

// CallQuery calls an operation of a service that speaks the Query protocol, with the SDK's input and output types.
func CallQuery[Out any](c Caller, service, action string, in any) (*Out, error) {
	made, err := c.call(service)
	if err != nil {
		return nil, err
	}
	operation, ok := queryServices[service].operations[action]
	if !ok {
		return nil, refuse("InvalidAction", "%s is not an operation that the rehearsal's %s supports", action, service)
	}
	answer, err := operation.run(made, in)
	if err != nil {
		return nil, err
	}
	return answer.(*Out), nil
}

// call prepares a call in the instance's role.
func (c Caller) call(service string) (*call, error) {
	session, ok, err := c.Account.SessionOf(c.Instance)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refuse("UnrecognizedClientException", "The instance %s has no role", c.Instance.ID)
	}
	a := New(c.Account, c.Instance.VPCID)
	a.provision, a.release = c.Provision, c.Release
	granted, err := a.policiesOf(session.Role)
	return &call{API: a, service: service, region: c.Instance.Region, session: session, grants: granted}, err
}
