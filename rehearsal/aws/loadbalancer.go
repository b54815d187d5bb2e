package aws

import (
	"fmt"
	"slices"
	"time"

	"eco2/rehearsal/awsapi/elb"
	"eco2/rehearsal/store"
)

// LoadBalancer is an Application Load Balancer.
type LoadBalancer struct {
	ARN              string         `json:"id"`
	Name             string         `json:"name"`
	DNSName          string         `json:"dnsName"`
	VPCID            string         `json:"vpcId"`
	SubnetIDs        []string       `json:"subnetIds"`
	SecurityGroupIDs []string       `json:"securityGroupIds"`
	Listeners        []elb.Listener `json:"listeners"`
	// CertificateARNs are what it ends TLS with.
	CertificateARNs []string          `json:"certificateArns"`
	TargetGroups    []elb.TargetGroup `json:"targetGroups"`
	// Tags are the target groups' too.
	Tags map[string]string `json:"tagsAll,omitempty"`
	// ActiveAt is when AWS has it ready.
	ActiveAt time.Time `json:"activeAt"`
}

// LoadBalancers lists all load balancers.
func (a *Account) LoadBalancers() ([]LoadBalancer, error) {
	return all[LoadBalancer](a, LoadBalancerKind)
}

// PutLoadBalancer makes or changes a load balancer, with an interface in each of its subnets and its target
// groups. Of a subnet that it leaves, the interface is released.
func (a *Account) PutLoadBalancer(b LoadBalancer) error {
	return a.store.Update(func(t *store.Tx) error {
		interfaces, err := (tx{Tx: t}).where(interfaceKind, "loadBalancer", b.ARN)
		if err != nil {
			return err
		}
		for _, eni := range interfaces {
			if slices.Contains(b.SubnetIDs, eni.text("subnetId")) || eni.text("_released") != "" {
				continue
			}
			eni["_released"] = time.Now().Format(time.RFC3339Nano)
			if err := (tx{Tx: t}).put(interfaceKind, eni); err != nil {
				return err
			}
		}
		for _, subnet := range b.SubnetIDs {
			if err := (tx{Tx: t}).putInterface(b, subnet); err != nil {
				return err
			}
		}
		if err := (tx{Tx: t}).dropWhere(TargetGroupKind, "loadBalancer", b.ARN); err != nil {
			return err
		}
		for _, group := range b.TargetGroups {
			o := object{"id": group.Name, "name": group.Name, "vpcId": b.VPCID, "loadBalancer": b.ARN}
			if err := t.Put(TargetGroupKind, group.Name, o); err != nil {
				return err
			}
		}
		return t.Put(LoadBalancerKind, b.ARN, b)
	})
}

// DeleteLoadBalancer removes one and its target groups; it need not exist. Its interfaces are AWS's own, which
// nobody else can delete, and are released later than it.
func (a *Account) DeleteLoadBalancer(arn string, released time.Time) error {
	return a.store.Update(func(t *store.Tx) error {
		all := tx{Tx: t}
		interfaces, err := all.where(interfaceKind, "loadBalancer", arn)
		if err != nil {
			return err
		}
		for _, eni := range interfaces {
			eni["_released"] = released.Format(time.RFC3339Nano)
			if err := all.put(interfaceKind, eni); err != nil {
				return err
			}
		}
		if err := all.dropWhere(TargetGroupKind, "loadBalancer", arn); err != nil {
			return err
		}
		return t.Delete(LoadBalancerKind, arn)
	})
}

// released says whether an interface that was given up is gone by now.
func (o object) released() bool {
	at, err := time.Parse(time.RFC3339Nano, o.text("_released"))
	return err == nil && !time.Now().Before(at)
}

// leftInterfaces describes the interfaces that a deleted load balancer still has.
func (t tx) leftInterfaces(matches func(object) bool) (left []string, err error) {
	var gone []object
	err = store.Each(t.Tx, interfaceKind, func(id string, o object) error {
		switch {
		case o.text("_released") == "":
		case o.released():
			gone = append(gone, o)
		case matches(o):
			left = append(left, fmt.Sprintf("network interface %s (%s)", id, o.text("_name")))
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
