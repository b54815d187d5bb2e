package aws

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/engine/plugin"
)

// Indexes of addresses, to find the owner of one without reading every instance. The key of a private address includes
// its VPC, as VPCs may overlap.
const (
	publicIndex  = "index.public"
	privateIndex = "index.private"
)

// address is an entry of an index: the owner of an address.
type address struct {
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

// takePublic assigns the lowest free public address.
func (t tx) takePublic(owner address) (string, error) {
	from, err := pools()
	if err != nil {
		return "", err
	}
	for _, pool := range from {
		for ip := pool.Addr().Next(); pool.Contains(ip.Next()); ip = ip.Next() {
			var taken address
			if ok, err := t.Get(publicIndex, ip.String(), &taken); err != nil {
				return "", err
			} else if !ok {
				return ip.String(), t.Put(publicIndex, ip.String(), owner)
			}
		}
	}
	return "", refuse("InsufficientAddressCapacity", "Not enough addresses available.")
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

// takePrivate assigns an address of a subnet: the requested one, or the lowest free one if none is requested.
func (t tx) takePrivate(sub object, requested string, owner address) (string, error) {
	cidr := netip.MustParsePrefix(sub.text("cidrBlock"))
	first := firstPrivate(cidr)
	if requested != "" {
		ip, err := netip.ParseAddr(requested)
		if err != nil || !cidr.Contains(ip) || ip.Less(first) || !cidr.Contains(ip.Next()) {
			return "", refuse("InvalidParameterValue", "Address %s does not fall within the subnet's address range", requested)
		}
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if !free {
			return "", refuse("InvalidIPAddress.InUse", "Address %s is in use.", requested)
		}
		return requested, t.Put(privateIndex, privateKey(owner.VPC, ip), owner)
	}
	for ip := first; cidr.Contains(ip.Next()); ip = ip.Next() { // the last one is the broadcast address
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if free {
			return ip.String(), t.Put(privateIndex, privateKey(owner.VPC, ip), owner)
		}
	}
	return "", refuse("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", sub.id())
}

// takeLast assigns the highest free address of a subnet. Load balancers get these, so that instances get the same
// addresses with and without load balancers.
func (t tx) takeLast(sub object, owner address) (string, error) {
	cidr := netip.MustParsePrefix(sub.text("cidrBlock"))
	for ip := broadcast(cidr).Prev(); !ip.Less(firstPrivate(cidr)); ip = ip.Prev() {
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if free {
			return ip.String(), t.Put(privateIndex, privateKey(owner.VPC, ip), owner)
		}
	}
	return "", refuse("InvalidSubnet", "Not enough IP space available in %s.", sub.id())
}

func privateKey(vpcID string, ip netip.Addr) string { return vpcID + " " + ip.String() }

// free reports whether a private address is not assigned. It deletes a load balancer's interface that is past the time
// of its release.
func (t tx) free(vpcID string, ip netip.Addr) (bool, error) {
	var owner address
	if ok, err := t.Get(privateIndex, privateKey(vpcID, ip), &owner); err != nil || !ok {
		return !ok, err
	}
	eni, err := t.get(interfaceKind, owner.Interface)
	if err != nil || !eni.released() {
		return false, err
	}
	return true, t.dropInterface(eni)
}

// broadcast returns the last address of an IPv4 network.
func broadcast(cidr netip.Prefix) netip.Addr {
	last := cidr.Masked().Addr().As4()
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|(1<<(32-cidr.Bits())-1))
	return netip.AddrFrom4(last)
}

// publicName returns the DNS name of a public address, or "" if the VPC has DNS host names disabled.
func (t tx) publicName(network object, ip string) string {
	if ip == "" || !network.flag("enableDnsHostnames") {
		return ""
	}
	domain := t.region + ".compute.amazonaws.com"
	if t.region == "us-east-1" {
		domain = "compute-1.amazonaws.com"
	}
	return "ec2-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// privateName returns the DNS name of a private address.
func (t tx) privateName(ip string) string {
	domain := t.region + ".compute.internal"
	if t.region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

var eip = spec{
	title: "EC2 EIP", service: "EC2", calls: calls{"AllocateAddress", "AssociateAddress", "ReleaseAddress"},
	affects: func(o object) string { return o.text("instance") },
	inputs: inputs{
		"domain":             text(replaces, computed, oneOf("vpc")),
		"instance":           text(computed),
		"networkBorderGroup": text(replaces, computed),
		"publicIpv4Pool":     text(replaces, computed),
		"tags":               ownTags,
	},
	outputs: []string{"allocationId", "arn", "associationId", "carrierIp", "customerOwnedIp", "networkInterface",
		"privateDns", "privateIp", "ptrRecord", "publicDns", "publicIp", "vpc"},
	create: func(c *call) error {
		if err := c.withinCount("eip", addressesPerRegion, "AddressLimitExceeded", "addresses"); err != nil {
			return err
		}
		id := newID("eipalloc")
		ip, err := c.takePublic(address{Allocation: id})
		if err != nil {
			return err
		}
		c.fill(object{"id": id, "allocationId": id, "arn": c.arn("ec2", "elastic-ip/"+id), "publicIp": ip, "vpc": true,
			// An elastic address has a public name regardless of the VPC's settings.
			"publicDns": c.publicName(object{"enableDnsHostnames": true}, ip),
			"carrierIp": "", "customerOwnedIp": "", "ptrRecord": ""})
		c.obj.setDefault("domain", "vpc")
		c.obj.setDefault("networkBorderGroup", c.region)
		c.obj.setDefault("publicIpv4Pool", "amazon")
		target := c.obj.text("instance")
		c.fill(detached)
		if target == "" {
			return nil
		}
		return c.associate(c.obj, target)
	},
	update: func(c *call) error {
		target := c.obj.text("instance")
		if target == c.old.text("instance") {
			return nil
		}
		if err := c.detach(c.old); err != nil {
			return err
		}
		c.fill(detached)
		if target == "" {
			return nil
		}
		return c.associate(c.obj, target)
	},
	changedOutputs: func(c *call) []string {
		if !c.changed("instance") {
			return nil
		}
		return []string{"associationId", "networkInterface", "privateDns", "privateIp"}
	},
	remove: func(c *call) error {
		// The provider first disassociates the address from the instance that this resource names. An EipAssociation
		// resource, which it does not know about, blocks the release.
		other, err := c.get("eipAssociation", c.obj.text("associationId"))
		if err != nil {
			return err
		}
		if other != nil {
			return refuse("InvalidIPAddress.InUse", "Address %s is in use.", c.obj.text("publicIp"))
		}
		if err := c.detach(c.obj); err != nil {
			return err
		}
		return c.Delete(publicIndex, c.obj.text("publicIp"))
	},
}

// detached holds the outputs of an elastic address that is not associated.
var detached = object{"associationId": "", "instance": "", "networkInterface": "", "privateIp": "", "privateDns": ""}

var eipAssociation = spec{
	title: "EC2 EIP Association", service: "EC2", calls: calls{"AssociateAddress", "AssociateAddress", "DisassociateAddress"},
	affects: func(o object) string { return o.text("instanceId") },
	inputs: inputs{
		"allocationId":       text(required, replaces),
		"instanceId":         text(required, replaces),
		"allowReassociation": flag(replaces),
	},
	outputs: []string{"networkInterfaceId", "privateIpAddress", "publicIp"},
	create: func(c *call) error {
		elastic, err := c.require("eip", c.obj.text("allocationId"))
		if err != nil {
			return err
		}
		// AWS moves an address that is in use unless the request forbids it, which the provider's never does.
		if err := c.detach(elastic); err != nil {
			return err
		}
		if err := c.associate(elastic, c.obj.text("instanceId")); err != nil {
			return err
		}
		c.fill(object{"id": elastic.text("associationId"), "publicIp": elastic.text("publicIp"),
			"networkInterfaceId": elastic.text("networkInterface"), "privateIpAddress": elastic.text("privateIp")})
		return c.put("eip", elastic)
	},
	remove: func(c *call) error {
		elastic, err := c.get("eip", c.obj.text("allocationId"))
		if err != nil || elastic == nil || elastic.text("associationId") != c.obj.id() {
			return err
		}
		return c.detach(elastic)
	},
	check: func(in resource.PropertyMap) []plugin.Failure {
		if id, ok := textOf(in, "allocationId"); ok && !strings.HasPrefix(id, "eipalloc-") {
			return []plugin.Failure{{Property: "allocationId", Reason: fmt.Sprintf("%q is not the id of an elastic address", id)}}
		}
		return nil
	},
}

// associate gives an elastic address to an instance, in place of its current public address. It stores the instance;
// the caller must store the elastic address.
func (t tx) associate(elastic object, instanceID string) error {
	inst, err := t.require("instance", instanceID)
	if err != nil {
		return err
	}
	network := inst.text("_vpcId")
	gateways, err := t.where("internetGateway", "vpcId", network)
	if err != nil {
		return err
	}
	if len(gateways) == 0 {
		return refuse("Gateway.NotAttached", "Network %s is not attached to any internet gateway", network)
	}
	if err := t.dropPublic(inst); err != nil {
		return err
	}
	ip := elastic.text("publicIp")
	elastic["associationId"], elastic["instance"] = newID("eipassoc"), instanceID
	elastic["networkInterface"], elastic["privateIp"] = inst.text("primaryNetworkInterfaceId"), inst.text("privateIp")
	elastic["privateDns"] = inst.text("privateDns")
	if err := t.Put(publicIndex, ip, address{VPC: network, Instance: instanceID, Allocation: elastic.id()}); err != nil {
		return err
	}
	in, err := t.require("vpc", network)
	if err != nil {
		return err
	}
	inst["publicIp"], inst["publicDns"] = ip, t.publicName(in, ip)
	return t.put("instance", inst)
}

// detach disassociates an elastic address from its instance, which gets a public address of its own again if it asks
// for one (associatePublicIpAddress).
func (t tx) detach(elastic object) error {
	inst, err := t.get("instance", elastic.text("instance"))
	if err != nil || inst == nil {
		return err
	}
	if err := t.dropPublic(inst); err != nil {
		return err
	}
	if err := t.assignPublic(inst); err != nil {
		return err
	}
	return t.put("instance", inst)
}

// dropPublic frees an instance's own public address, or disassociates its elastic one.
func (t tx) dropPublic(inst object) error {
	ip := inst.text("publicIp")
	if ip == "" {
		return nil
	}
	inst["publicIp"], inst["publicDns"] = "", ""
	var a address
	if _, err := t.Get(publicIndex, ip, &a); err != nil {
		return err
	}
	if a.Allocation == "" {
		return t.Delete(publicIndex, ip)
	}
	elastic, err := t.require("eip", a.Allocation)
	if err != nil {
		return err
	}
	if err := t.drop("eipAssociation", elastic.text("associationId")); err != nil {
		return err
	}
	for key, v := range detached {
		elastic[key] = v
	}
	if err := t.put("eip", elastic); err != nil {
		return err
	}
	return t.Put(publicIndex, ip, address{Allocation: elastic.id()})
}

// hasOwnPublic reports whether an instance's public address is one that AWS assigned to it, not an elastic one.
func (t tx) hasOwnPublic(inst object) (bool, error) {
	ip := inst.text("publicIp")
	if ip == "" {
		return false, nil
	}
	var a address
	_, err := t.Get(publicIndex, ip, &a)
	return a.Allocation == "", err
}

// assignPublic gives an instance a public address of its own if it asks for one (associatePublicIpAddress).
func (t tx) assignPublic(inst object) error {
	if !inst.flag("associatePublicIpAddress") {
		return nil
	}
	network, err := t.require("vpc", inst.text("_vpcId"))
	if err != nil {
		return err
	}
	ip, err := t.takePublic(address{VPC: network.id(), Instance: inst.id()})
	if err != nil {
		return err
	}
	inst["publicIp"], inst["publicDns"] = ip, t.publicName(network, ip)
	return nil
}
