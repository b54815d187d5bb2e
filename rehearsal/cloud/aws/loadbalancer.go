package aws

import (
	"fmt"
	"slices"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"eco2/rehearsal/internal/store"
)

// LoadBalancer is an Application Load Balancer with its listeners. Target groups are separate objects: they are created
// before it, and are not deleted with it.
type LoadBalancer struct {
	ARN              string     `json:"id"`
	Name             string     `json:"name"`
	DNSName          string     `json:"dnsName"`
	VPCID            string     `json:"vpcId"`
	Scheme           string     `json:"scheme"` // "internet-facing" or "internal"
	SubnetIDs        []string   `json:"subnetIds"`
	SecurityGroupIDs []string   `json:"securityGroupIds"`
	Listeners        []Listener `json:"listeners"`
	// Attributes holds only those that differ from AWS's defaults.
	Attributes map[string]string `json:"attributes,omitempty"`
	Tags       map[string]string `json:"tagsAll,omitempty"`
	CreatedAt  time.Time         `json:"createdAt"`
	// ActiveAt is when its state changes from provisioning to active.
	ActiveAt time.Time `json:"activeAt"`
}

// Listener is a listener of a load balancer: one port and its rules.
type Listener struct {
	ARN      string
	Port     int
	Protocol string // HTTP or HTTPS
	// SSLPolicy is the security policy of an HTTPS listener, see MinimumTLS.
	SSLPolicy string `json:",omitempty"`
	// CertificateARNs are the certificates that it terminates TLS with, the default one first.
	CertificateARNs []string `json:",omitempty"`
	// Default is the actions for a request that matches no rule.
	Default []elb.Action
	Rules   []ListenerRule    `json:",omitempty"`
	Tags    map[string]string `json:",omitempty"`
}

// ListenerRule holds the actions for requests that match all its conditions. Rules with lower priorities are evaluated
// first.
type ListenerRule struct {
	ARN        string
	Priority   int
	Conditions []elb.RuleCondition
	Actions    []elb.Action
	Tags       map[string]string `json:",omitempty"`
}

// Certificates returns the ARNs of all its listeners' certificates, in the listeners' order and without duplicates.
func (b LoadBalancer) Certificates() (arns []string) {
	for _, l := range b.Listeners {
		for _, arn := range l.CertificateARNs {
			if !slices.Contains(arns, arn) {
				arns = append(arns, arn)
			}
		}
	}
	return arns
}

// Forwards returns the ARNs of the target groups that its listeners forward to.
func (b LoadBalancer) Forwards() (arns []string) {
	add := func(actions []elb.Action) {
		for _, action := range actions {
			if action.TargetGroupArn != nil {
				arns = append(arns, *action.TargetGroupArn)
			}
		}
	}
	for _, l := range b.Listeners {
		add(l.Default)
		for _, r := range l.Rules {
			add(r.Actions)
		}
	}
	slices.Sort(arns)
	return slices.Compact(arns)
}

// LoadBalancers lists all load balancers.
func (a *Account) LoadBalancers() ([]LoadBalancer, error) {
	return all[LoadBalancer](a, LoadBalancerKind)
}

// PutLoadBalancer creates or updates a load balancer, with an interface in each of its subnets. Interfaces in subnets
// that it no longer has are released.
func (a *Account) PutLoadBalancer(b LoadBalancer) error {
	return a.store.Update(func(t *store.Tx) error {
		interfaces, err := (Tx{Tx: t}).Where(InterfaceKind, "loadBalancer", b.ARN)
		if err != nil {
			return err
		}
		for _, eni := range interfaces {
			if slices.Contains(b.SubnetIDs, eni.Text("subnetId")) || eni.Text("_released") != "" {
				continue
			}
			eni["_released"] = time.Now().Format(time.RFC3339Nano)
			if err := (Tx{Tx: t}).Keep(InterfaceKind, eni); err != nil {
				return err
			}
		}
		for _, subnet := range b.SubnetIDs {
			if err := (Tx{Tx: t}).putInterface(b, subnet); err != nil {
				return err
			}
		}
		return t.Put(LoadBalancerKind, b.ARN, b)
	})
}

// DeleteLoadBalancer deletes a load balancer and its listeners; it need not exist. Its interfaces belong to AWS, so
// nobody else can delete them; they remain until the time released.
func (a *Account) DeleteLoadBalancer(arn string, released time.Time) error {
	return a.store.Update(func(t *store.Tx) error {
		all := Tx{Tx: t}
		interfaces, err := all.Where(InterfaceKind, "loadBalancer", arn)
		if err != nil {
			return err
		}
		for _, eni := range interfaces {
			eni["_released"] = released.Format(time.RFC3339Nano)
			if err := all.Keep(InterfaceKind, eni); err != nil {
				return err
			}
		}
		return t.Delete(LoadBalancerKind, arn)
	})
}

// released reports whether an interface is past the time of its release, and so no longer exists.
func (o Object) released() bool {
	at, err := time.Parse(time.RFC3339Nano, o.Text("_released"))
	return err == nil && !time.Now().Before(at)
}

// RemainingInterfaces describes the interfaces of deleted load balancers that still exist and match. It deletes those
// past the time of their release.
func (t Tx) RemainingInterfaces(matches func(Object) bool) (left []string, err error) {
	var gone []Object
	err = store.Each(t.Tx, InterfaceKind, func(id string, o Object) error {
		switch {
		case o.Text("_released") == "":
		case o.released():
			gone = append(gone, o)
		case matches(o):
			left = append(left, fmt.Sprintf("network interface %s (%s)", id, o.Text("_name")))
		}
		return nil
	})
	for _, o := range gone {
		if err == nil {
			err = t.dropInterface(o)
		}
	}
	return left, err
}
