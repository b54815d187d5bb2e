package aws

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Indexes of addresses, to find the owner of one without reading every instance. The key of a private address includes
// its VPC, as VPCs may overlap.
const (
	PublicIndex  = "index.public"
	PrivateIndex = "index.private"
)

// Address is an entry of an index: the owner of an address.
type Address struct {
	VPC, Instance string
	// Allocation is the ID of an elastic address; empty for an address that AWS assigned to an instance.
	Allocation string
	// Interface is the ID of a load balancer's interface, which has no instance.
	Interface string
}

// publicPools are the networks that RFC 5737 and RFC 2544 reserve for documentation and benchmarks: the model's public
// addresses belong to nobody on the internet. The last one is large enough for a cluster of any size.
var publicPools = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
}

// PublicPoolEnv is an environment variable with a CIDR to assign public addresses from instead of publicPools: two
// accounts with real machines on one host must not assign the same addresses.
const PublicPoolEnv = "ECO2_REHEARSAL_PUBLIC_POOL"

func pools() ([]netip.Prefix, error) {
	text := os.Getenv(PublicPoolEnv)
	if text == "" {
		return publicPools, nil
	}
	pool, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", PublicPoolEnv, err)
	}
	return []netip.Prefix{pool}, nil
}

// TakePublic assigns the lowest free public address.
func (t Tx) TakePublic(owner Address) (string, error) {
	from, err := pools()
	if err != nil {
		return "", err
	}
	for _, pool := range from {
		for ip := pool.Addr().Next(); pool.Contains(ip.Next()); ip = ip.Next() {
			var taken Address
			if ok, err := t.Get(PublicIndex, ip.String(), &taken); err != nil {
				return "", err
			} else if !ok {
				return ip.String(), t.Put(PublicIndex, ip.String(), owner)
			}
		}
	}
	return "", Refuse("InsufficientAddressCapacity", "Not enough addresses available.")
}

// reservedAddresses is the number of addresses that AWS reserves at the start of each subnet: network, router, DNS,
// future use.
const reservedAddresses = 4

// firstPrivate returns the first address of a subnet that AWS assigns.
func firstPrivate(cidr netip.Prefix) netip.Addr {
	first := cidr.Addr()
	for range reservedAddresses {
		first = first.Next()
	}
	return first
}

// TakePrivate assigns an address of a subnet: the requested one, or the lowest free one if none is requested.
func (t Tx) TakePrivate(sub Object, requested string, owner Address) (string, error) {
	cidr := netip.MustParsePrefix(sub.Text("cidrBlock"))
	first := firstPrivate(cidr)
	if requested != "" {
		ip, err := netip.ParseAddr(requested)
		if err != nil || !cidr.Contains(ip) || ip.Less(first) || !cidr.Contains(ip.Next()) {
			return "", Refuse("InvalidParameterValue", "Address %s does not fall within the subnet's address range", requested)
		}
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if !free {
			return "", Refuse("InvalidIPAddress.InUse", "Address %s is in use.", requested)
		}
		return requested, t.Put(PrivateIndex, privateKey(owner.VPC, ip), owner)
	}
	reserved, err := t.reserved(sub)
	if err != nil {
		return "", err
	}
	for ip := first; cidr.Contains(ip.Next()); ip = ip.Next() { // the last one is the broadcast address
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if free && !reserved(ip) {
			return ip.String(), t.Put(PrivateIndex, privateKey(owner.VPC, ip), owner)
		}
	}
	return "", Refuse("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", sub.ID())
}

// takeLast assigns the highest free address of a subnet. Load balancers get these, so that instances get the same
// addresses with and without load balancers.
func (t Tx) takeLast(sub Object, owner Address) (string, error) {
	cidr := netip.MustParsePrefix(sub.Text("cidrBlock"))
	reserved, err := t.reserved(sub)
	if err != nil {
		return "", err
	}
	for ip := Broadcast(cidr).Prev(); !ip.Less(firstPrivate(cidr)); ip = ip.Prev() {
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if free && !reserved(ip) {
			return ip.String(), t.Put(PrivateIndex, privateKey(owner.VPC, ip), owner)
		}
	}
	return "", Refuse("InvalidSubnet", "Not enough IP space available in %s.", sub.ID())
}

// reserved returns a function that reports whether AWS must not assign an address of a subnet by itself.
func (t Tx) reserved(sub Object) (func(netip.Addr) bool, error) {
	reservations, err := t.Where("subnetCidrReservation", "subnetId", sub.ID())
	return func(ip netip.Addr) bool {
		return slices.ContainsFunc(reservations, func(r Object) bool {
			return netip.MustParsePrefix(r.Text("cidrBlock")).Contains(ip)
		})
	}, err
}

func privateKey(vpcID string, ip netip.Addr) string { return vpcID + " " + ip.String() }

// free reports whether a private address is not assigned. It deletes a load balancer's interface that is past the time
// of its release.
func (t Tx) free(vpcID string, ip netip.Addr) (bool, error) {
	var owner Address
	if ok, err := t.Get(PrivateIndex, privateKey(vpcID, ip), &owner); err != nil || !ok {
		return !ok, err
	}
	eni, err := t.Find(InterfaceKind, owner.Interface)
	if err != nil || !eni.released() {
		return false, err
	}
	return true, t.dropInterface(eni)
}

// Broadcast returns the last address of an IPv4 network.
func Broadcast(cidr netip.Prefix) netip.Addr {
	last := cidr.Masked().Addr().As4()
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|(1<<(32-cidr.Bits())-1))
	return netip.AddrFrom4(last)
}

// PublicName returns the DNS name of a public address, or "" if the VPC has DNS host names disabled.
func (t Tx) PublicName(network Object, ip string) string {
	if ip == "" || !network.Flag("enableDnsHostnames") {
		return ""
	}
	domain := t.Region + ".compute.amazonaws.com"
	if t.Region == "us-east-1" {
		domain = "compute-1.amazonaws.com"
	}
	return "ec2-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// PrivateName returns the DNS name of a private address.
func (t Tx) PrivateName(ip string) string {
	domain := t.Region + ".compute.internal"
	if t.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// Detached holds the outputs of an elastic address that is not associated.
var Detached = Object{"associationId": "", "instance": "", "networkInterface": "", "privateIp": "", "privateDns": ""}

// Associate gives an elastic address to an instance, in place of its current public address. It stores the instance;
// the caller must store the elastic address.
func (t Tx) Associate(elastic Object, instanceID string) error {
	inst, err := t.Require("instance", instanceID)
	if err != nil {
		return err
	}
	network := inst.Text("_vpcId")
	gateways, err := t.Where("internetGateway", "vpcId", network)
	if err != nil {
		return err
	}
	if len(gateways) == 0 {
		return Refuse("Gateway.NotAttached", "Network %s is not attached to any internet gateway", network)
	}
	if err := t.DropPublic(inst); err != nil {
		return err
	}
	ip := elastic.Text("publicIp")
	elastic["associationId"], elastic["instance"] = NewID("eipassoc"), instanceID
	elastic["networkInterface"], elastic["privateIp"] = inst.Text("primaryNetworkInterfaceId"), inst.Text("privateIp")
	elastic["privateDns"] = inst.Text("privateDns")
	if err := t.Put(PublicIndex, ip, Address{VPC: network, Instance: instanceID, Allocation: elastic.ID()}); err != nil {
		return err
	}
	in, err := t.Require("vpc", network)
	if err != nil {
		return err
	}
	inst["publicIp"], inst["publicDns"] = ip, t.PublicName(in, ip)
	return t.Keep("instance", inst)
}

// Detach disassociates an elastic address from its instance, which gets a public address of its own again if it asks
// for one (associatePublicIpAddress).
func (t Tx) Detach(elastic Object) error {
	inst, err := t.Find("instance", elastic.Text("instance"))
	if err != nil || inst == nil {
		return err
	}
	if err := t.DropPublic(inst); err != nil {
		return err
	}
	if err := t.AssignPublic(inst); err != nil {
		return err
	}
	return t.Keep("instance", inst)
}

// DropPublic frees an instance's own public address, or disassociates its elastic one.
func (t Tx) DropPublic(inst Object) error {
	ip := inst.Text("publicIp")
	if ip == "" {
		return nil
	}
	inst["publicIp"], inst["publicDns"] = "", ""
	var a Address
	if _, err := t.Get(PublicIndex, ip, &a); err != nil {
		return err
	}
	if a.Allocation == "" {
		return t.Delete(PublicIndex, ip)
	}
	elastic, err := t.Require("eip", a.Allocation)
	if err != nil {
		return err
	}
	if err := t.Drop("eipAssociation", elastic.Text("associationId")); err != nil {
		return err
	}
	for key, v := range Detached {
		elastic[key] = v
	}
	if err := t.Keep("eip", elastic); err != nil {
		return err
	}
	return t.Put(PublicIndex, ip, Address{Allocation: elastic.ID()})
}

// HasOwnPublic reports whether an instance's public address is one that AWS assigned to it, not an elastic one.
func (t Tx) HasOwnPublic(inst Object) (bool, error) {
	ip := inst.Text("publicIp")
	if ip == "" {
		return false, nil
	}
	var a Address
	_, err := t.Get(PublicIndex, ip, &a)
	return a.Allocation == "", err
}

// AssignPublic gives an instance a public address of its own if it asks for one (associatePublicIpAddress).
func (t Tx) AssignPublic(inst Object) error {
	if !inst.Flag("associatePublicIpAddress") {
		return nil
	}
	network, err := t.Require("vpc", inst.Text("_vpcId"))
	if err != nil {
		return err
	}
	ip, err := t.TakePublic(Address{VPC: network.ID(), Instance: inst.ID()})
	if err != nil {
		return err
	}
	inst["publicIp"], inst["publicDns"] = ip, t.PublicName(network, ip)
	return nil
}
