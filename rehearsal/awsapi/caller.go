package awsapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"eco2/rehearsal/aws"
)

// Caller calls the API as an instance does, without a network between: for the models of controllers, which may do
// what real ones may, and are refused what real ones are.
type Caller struct {
	Account  *aws.Account
	Instance aws.Instance
	// Provision is how long AWS takes until a new load balancer serves, Release how long it keeps the interfaces of a
	// deleted one.
	Provision, Release time.Duration
}

// Call does what is asked of a service that speaks JSON.
func (c Caller) Call(_ context.Context, service, target string, in, out any) error {
	made, err := c.call(service)
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("writing what %s asks: %w", target, err)
	}
	operation, ok := operations[target]
	if !ok || operation.service != service {
		return refuse("UnknownOperationException", "%s is nothing that the rehearsal's %s can do", target, service)
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

// Ask does what is asked of a service that speaks the Query protocol, with the SDK's own input and output.
func Ask[Out any](c Caller, service, action string, in any) (*Out, error) {
	made, err := c.call(service)
	if err != nil {
		return nil, err
	}
	operation, ok := queryServices[service].operations[action]
	if !ok {
		return nil, refuse("InvalidAction", "%s is nothing that the rehearsal's %s can do", action, service)
	}
	answer, err := operation.run(made, in)
	if err != nil {
		return nil, err
	}
	return answer.(*Out), nil
}

// call is one of the instance's.
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
	granted, err := a.granted(session.Role)
	return &call{API: a, service: service, region: c.Instance.Region, session: session, grants: granted}, err
}
