package aws

import (
	"net/netip"
	"time"
)

// Interface is what a load balancer has in one of its subnets: an address, and its groups there.
type Interface struct {
	ID               string     `json:"id"`
	VPCID            string     `json:"vpcId"`
	SubnetID         string     `json:"subnetId"`
	SecurityGroupIDs []string   `json:"groups"`
	PrivateIP        netip.Addr `json:"privateIp"`
	LoadBalancerARN  string     `json:"loadBalancer"`
	// Released is when a deleted load balancer's is gone; nil while it is in use.
	Released *time.Time `json:"_released"`
}

// Interfaces lists the interfaces of load balancers that exist.
func (a *Account) Interfaces() (inUse []Interface, err error) {
	interfaces, err := all[Interface](a, interfaceKind)
	for _, i := range interfaces {
		if i.LoadBalancerARN != "" && i.Released == nil {
			inUse = append(inUse, i)
		}
	}
	return inUse, err
}

// putInterface gives a load balancer an interface in a subnet, or the one that it has there its groups.
func (t tx) putInterface(b LoadBalancer, subnetID string) error {
	id := "eni-" + b.Name + "-" + subnetID
	eni, err := t.get(interfaceKind, id)
	if err != nil {
		return err
	}
	if eni == nil {
		sub, err := t.must("subnet", subnetID)
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

// dropInterface removes one, and its address is free.
func (t tx) dropInterface(eni object) error {
	if err := t.Delete(privateIndex, eni.text("vpcId")+" "+eni.text("privateIp")); err != nil {
		return err
	}
	return t.drop(interfaceKind, eni.id())
}

// groupsAt are the security groups of who has an address in a VPC.
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
