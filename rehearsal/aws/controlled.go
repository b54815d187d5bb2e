package aws

import (
	"fmt"
	"time"

	"eco2/rehearsal/store"
)

// The kinds that controllers in a cluster make and no program does: no state knows them, and each is in the way
// of a network that is to go, or outlives it.
const (
	LoadBalancerKind = "loadbalancer"
	TargetGroupKind  = "targetGroup"
	volumeKind       = "volume"
	interfaceKind    = "networkInterface"
	recordKind       = "record"
)

// LoadBalancer is an Application Load Balancer.
type LoadBalancer struct {
	ARN              string   `json:"id"`
	Name             string   `json:"name"`
	DNSName          string   `json:"dnsName"`
	VPCID            string   `json:"vpcId"`
	SubnetIDs        []string `json:"subnetIds"`
	SecurityGroupIDs []string `json:"securityGroupIds"`
	// Listeners are its ports, TargetGroups the names of where it sends requests.
	Listeners []int `json:"listeners"`
	// CertificateARNs are what it ends TLS with.
	CertificateARNs []string `json:"certificateArns"`
	TargetGroups    []string `json:"targetGroups"`
	// ActiveAt is when AWS has it ready.
	ActiveAt time.Time `json:"activeAt"`
}

// LoadBalancers lists all load balancers.
func (a *Account) LoadBalancers() ([]LoadBalancer, error) {
	return all[LoadBalancer](a, LoadBalancerKind)
}

// PutLoadBalancer makes or changes a load balancer, with an interface in each of its subnets and its target
// groups.
func (a *Account) PutLoadBalancer(b LoadBalancer) error {
	return a.store.Update(func(t *store.Tx) error {
		for _, subnet := range b.SubnetIDs {
			eni := object{
				"id": b.interfaceID(subnet), "vpcId": b.VPCID, "subnetId": subnet, "groups": b.SecurityGroupIDs,
				"loadBalancer": b.ARN, "_name": "ELB app/" + b.Name,
			}
			if err := t.Put(interfaceKind, eni.id(), eni); err != nil {
				return err
			}
		}
		if err := (tx{Tx: t}).dropWhere(TargetGroupKind, "loadBalancer", b.ARN); err != nil {
			return err
		}
		for _, name := range b.TargetGroups {
			group := object{"id": name, "name": name, "vpcId": b.VPCID, "loadBalancer": b.ARN}
			if err := t.Put(TargetGroupKind, name, group); err != nil {
				return err
			}
		}
		return t.Put(LoadBalancerKind, b.ARN, b)
	})
}

func (b LoadBalancer) interfaceID(subnet string) string {
	return "eni-" + b.Name + "-" + subnet
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
	var gone []string
	err = store.Each(t.Tx, interfaceKind, func(id string, o object) error {
		switch {
		case o.text("_released") == "":
		case o.released():
			gone = append(gone, id)
		case matches(o):
			left = append(left, fmt.Sprintf("network interface %s (%s)", id, o.text("_name")))
		}
		return nil
	})
	for _, id := range gone {
		if err == nil {
			err = t.Delete(interfaceKind, id)
		}
	}
	return left, err
}

// Volume is a disk beside an instance's first.
type Volume struct {
	ID               string            `json:"id"`
	Name             string            `json:"_name"`
	SizeGiB          int               `json:"size"`
	AvailabilityZone string            `json:"availabilityZone"`
	InstanceID       string            `json:"instance"` // empty if it is attached to none
	Tags             map[string]string `json:"tagsAll"`
}

// Volumes lists the volumes that controllers made.
func (a *Account) Volumes() (made []Volume, err error) {
	volumes, err := all[Volume](a, volumeKind)
	for _, v := range volumes {
		if v.Tags != nil {
			made = append(made, v)
		}
	}
	return made, err
}

// PutVolume makes or changes a volume.
func (a *Account) PutVolume(v Volume) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(volumeKind, v.ID, v) })
}

// DeleteVolume removes one; it need not exist.
func (a *Account) DeleteVolume(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(volumeKind, id) })
}

// detachVolumes leaves an instance's further disks without it.
func (t tx) detachVolumes(instanceID string) error {
	attached, err := t.where(volumeKind, "instance", instanceID)
	for _, v := range attached {
		v["instance"] = ""
		if err == nil {
			err = t.put(volumeKind, v)
		}
	}
	return err
}

// Record is a name in a hosted zone.
type Record struct {
	ID      string   `json:"id"`
	ZoneID  string   `json:"zoneId"`
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Records []string `json:"records"`
	// Owner is who made it, if that was no program.
	Owner string `json:"_owner"`
}

// Records lists the names that controllers made.
func (a *Account) Records() (made []Record, err error) {
	records, err := all[Record](a, recordKind)
	for _, r := range records {
		if r.Owner != "" {
			made = append(made, r)
		}
	}
	return made, err
}

// PutRecord makes or changes a record.
func (a *Account) PutRecord(r Record) error {
	r.ID = r.ZoneID + "_" + r.Name + "_" + r.Type
	return a.store.Update(func(t *store.Tx) error { return t.Put(recordKind, r.ID, r) })
}

// DeleteRecord removes one; it need not exist.
func (a *Account) DeleteRecord(id string) error {
	return a.store.Update(func(t *store.Tx) error { return t.Delete(recordKind, id) })
}
