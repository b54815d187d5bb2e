package aws

import (
	"net/netip"
	"time"
)

// Interface is a load balancer's network interface in one of its subnets.
type Interface struct {
	ID               string     `json:"id"`
	VPCID            string     `json:"vpcId"`
	SubnetID         string     `json:"subnetId"`
	SecurityGroupIDs []string   `json:"groups"`
	PrivateIP        netip.Addr `json:"privateIp"`
	LoadBalancerARN  string     `json:"loadBalancer"`
	// Released is when AWS removes the interface of a deleted load balancer; nil while it is in use.
	Released *time.Time `json:"_released"`
}

// Interfaces lists the interfaces of all existing load balancers.
func (a *Account) Interfaces() (inUse []Interface, err error) {
	interfaces, err := all[Interface](a, InterfaceKind)
	for _, i := range interfaces {
		if i.LoadBalancerARN != "" && i.Released == nil {
			inUse = append(inUse, i)
		}
	}
	return inUse, err
}

// putInterface creates a load balancer's interface in a subnet, or updates the security groups of the existing one.
func (t Tx) putInterface(b LoadBalancer, subnetID string) error {
	id := "eni-" + b.Name + "-" + subnetID
	eni, err := t.Find(InterfaceKind, id)
	if err != nil {
		return err
	}
	if eni == nil {
		sub, err := t.Require("subnet", subnetID)
		if err != nil {
			return err
		}
		ip, err := t.takeLast(sub, Address{VPC: b.VPCID, Interface: id})
		if err != nil {
			return err
		}
		eni = Object{"id": id, "vpcId": b.VPCID, "subnetId": subnetID, "privateIp": ip}
	}
	delete(eni, "_released")
	eni["groups"], eni["loadBalancer"], eni["_name"] = b.SecurityGroupIDs, b.ARN, "ELB app/"+b.Name
	return t.Keep(InterfaceKind, eni)
}

// dropInterface deletes an interface and frees its address.
func (t Tx) dropInterface(eni Object) error {
	if err := t.Delete(PrivateIndex, eni.Text("vpcId")+" "+eni.Text("privateIp")); err != nil {
		return err
	}
	return t.Drop(InterfaceKind, eni.ID())
}

// groupsAt returns the security groups of the instance or load balancer that has an address in a VPC.
func (t Tx) groupsAt(vpcID string, ip netip.Addr) ([]string, error) {
	var owner Address
	if ok, err := t.Get(PrivateIndex, privateKey(vpcID, ip), &owner); err != nil || !ok {
		return nil, err
	}
	if owner.Interface != "" {
		var eni Interface
		ok, err := t.Get(InterfaceKind, owner.Interface, &eni)
		if !ok || eni.Released != nil {
			return nil, err
		}
		return eni.SecurityGroupIDs, err
	}
	var instance Instance
	_, err := t.Get("instance", owner.Instance, &instance)
	return instance.SecurityGroupIDs, err
}
