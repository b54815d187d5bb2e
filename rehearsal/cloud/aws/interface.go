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
	interfaces, err := all[Interface](a, interfaceKind)
	for _, i := range interfaces {
		if i.LoadBalancerARN != "" && i.Released == nil {
			inUse = append(inUse, i)
		}
	}
	return inUse, err
}

// putInterface creates a load balancer's interface in a subnet, or updates the security groups of the existing one.
func (t tx) putInterface(b LoadBalancer, subnetID string) error {
	id := "eni-" + b.Name + "-" + subnetID
	eni, err := t.get(interfaceKind, id)
	if err != nil {
		return err
	}
	if eni == nil {
		sub, err := t.require("subnet", subnetID)
		if err != nil {
			return err
		}
		ip, err := t.takeLast(sub, address{VPC: b.VPCID, Interface: id})
		if err != nil {
			return err
		}
		eni = object{"id": id, "vpcId": b.VPCID, "subnetId": subnetID, "privateIp": ip}
	}
	delete(eni, "_released")
	eni["groups"], eni["loadBalancer"], eni["_name"] = b.SecurityGroupIDs, b.ARN, "ELB app/"+b.Name
	return t.put(interfaceKind, eni)
}

// dropInterface deletes an interface and frees its address.
func (t tx) dropInterface(eni object) error {
	if err := t.Delete(privateIndex, eni.text("vpcId")+" "+eni.text("privateIp")); err != nil {
		return err
	}
	return t.drop(interfaceKind, eni.id())
}

// groupsAt returns the security groups of the instance or load balancer that has an address in a VPC.
func (t tx) groupsAt(vpcID string, ip netip.Addr) ([]string, error) {
	var owner address
	if ok, err := t.Get(privateIndex, privateKey(vpcID, ip), &owner); err != nil || !ok {
		return nil, err
	}
	if owner.Interface != "" {
		var eni Interface
		ok, err := t.Get(interfaceKind, owner.Interface, &eni)
		if !ok || eni.Released != nil {
			return nil, err
		}
		return eni.SecurityGroupIDs, err
	}
	var instance Instance
	_, err := t.Get("instance", owner.Instance, &instance)
	return instance.SecurityGroupIDs, err
}
