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

// Call does what is asked.
func (c Caller) Call(_ context.Context, service, target string, in, out any) error {
	session, ok, err := c.Account.SessionOf(c.Instance)
	if err != nil {
		return err
	}
	if !ok {
		return refuse("UnrecognizedClientException", "The instance %s has no role", c.Instance.ID)
	}
	a := &api{account: c.Account, vpc: c.Instance.VPCID, provision: c.Provision, release: c.Release}
	granted, err := a.granted(session.Role)
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
	answer, err := operation.run(&call{api: a, service: service, region: c.Instance.Region, session: session, grants: granted}, body)
	if err != nil || out == nil {
		return err
	}
	if body, err = json.Marshal(answer); err == nil {
		err = json.Unmarshal(body, out)
	}
	return err
}
