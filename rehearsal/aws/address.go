package aws

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"eco2/rehearsal/plugin"
)

// The indices find who has an address without reading every instance. A private address is kept under
// its VPC and itself, as VPCs may overlap.
const (
	publicIndex  = "index.public"
	privateIndex = "index.private"
)

// address is who has an address.
type address struct {
	VPC, Instance string
	// Allocation is the elastic address's id; addresses that come with an instance have none.
	Allocation string
	// Interface is a load balancer's, which has no instance.
	Interface string
}

// publicPools are what RFC 5737 and RFC 2544 set aside: the model's public addresses can be mistaken for
// nobody's. The last has room for a cluster of any size.
var publicPools = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
}

// PublicPoolEnv names a network that public addresses come from instead: two accounts with real machines on one
// host must not give out the same.
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

// takePublic gives out the lowest free public address.
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

// reservedAddresses are those that AWS keeps at the start of each subnet: network, router, DNS, future use.
const reservedAddresses = 4

// firstPrivate is the first of a subnet's addresses that AWS gives out.
func firstPrivate(cidr netip.Prefix) netip.Addr {
	first := cidr.Addr()
	for range reservedAddresses {
		first = first.Next()
	}
	return first
}

// takePrivate gives out an address of a subnet: the one that is wanted, or the lowest that is free.
func (t tx) takePrivate(sub object, wanted string, owner address) (string, error) {
	cidr := netip.MustParsePrefix(sub.text("cidrBlock"))
	first := firstPrivate(cidr)
	if wanted != "" {
		ip, err := netip.ParseAddr(wanted)
		if err != nil || !cidr.Contains(ip) || ip.Less(first) || !cidr.Contains(ip.Next()) {
			return "", refuse("InvalidParameterValue", "Address %s does not fall within the subnet's address range", wanted)
		}
		if free, err := t.free(owner.VPC, ip); err != nil {
			return "", err
		} else if !free {
			return "", refuse("InvalidIPAddress.InUse", "Address %s is in use.", wanted)
		}
		return wanted, t.Put(privateIndex, privateKey(owner.VPC, ip), owner)
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

// takeLast gives out the highest free address of a subnet. Load balancers have these, so that instances have the
// same addresses with and without them.
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

// free says whether nobody has a private address. A load balancer's that AWS has released by now is forgotten.
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

// broadcast is the last address of an IPv4 network.
func broadcast(cidr netip.Prefix) netip.Addr {
	last := cidr.Masked().Addr().As4()
	binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|(1<<(32-cidr.Bits())-1))
	return netip.AddrFrom4(last)
}

// publicName is the DNS name that AWS gives to a public address, if the VPC has such names.
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

// privateName is the DNS name of a private address.
func (t tx) privateName(ip string) string {
	domain := t.region + ".compute.internal"
	if t.region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

var eip = spec{
	title: "EC2 EIP", service: "EC2", calls: calls{"AllocateAddress", "AssociateAddress", "ReleaseAddress"},
	machines: func(o object) string { return o.text("instance") },
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
			// An elastic address has its public name in any VPC.
			"publicDns": c.publicName(object{"enableDnsHostnames": true}, ip),
			"carrierIp": "", "customerOwnedIp": "", "ptrRecord": ""})
		c.it.or("domain", "vpc")
		c.it.or("networkBorderGroup", c.region)
		c.it.or("publicIpv4Pool", "amazon")
		target := c.it.text("instance")
		c.fill(detached)
		if target == "" {
			return nil
		}
		return c.associate(c.it, target)
	},
	update: func(c *call) error {
		target := c.it.text("instance")
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
		return c.associate(c.it, target)
	},
	changes: func(c *call) []string {
		if !c.changed("instance") {
			return nil
		}
		return []string{"associationId", "networkInterface", "privateDns", "privateIp"}
	},
	remove: func(c *call) error {
		// The provider takes the address off the instance that its own resource names. An association of
		// its own, which that does not know of, is in the way.
		other, err := c.get("eipAssociation", c.it.text("associationId"))
		if err != nil {
			return err
		}
		if other != nil {
			return refuse("InvalidIPAddress.InUse", "Address %s is in use.", c.it.text("publicIp"))
		}
		if err := c.detach(c.it); err != nil {
			return err
		}
		return c.Delete(publicIndex, c.it.text("publicIp"))
	},
}

// detached is what an elastic address says of its association when it has none.
var detached = object{"associationId": "", "instance": "", "networkInterface": "", "privateIp": "", "privateDns": ""}

var eipAssociation = spec{
	title: "EC2 EIP Association", service: "EC2", calls: calls{"AssociateAddress", "AssociateAddress", "DisassociateAddress"},
	machines: func(o object) string { return o.text("instanceId") },
	inputs: inputs{
		"allocationId":       text(required, replaces),
		"instanceId":         text(required, replaces),
		"allowReassociation": flag(replaces),
	},
	outputs: []string{"networkInterfaceId", "privateIpAddress", "publicIp"},
	create: func(c *call) error {
		elastic, err := c.must("eip", c.it.text("allocationId"))
		if err != nil {
			return err
		}
		// AWS moves an address that is in use unless it is told not to, and the provider never says that.
		if err := c.detach(elastic); err != nil {
			return err
		}
		if err := c.associate(elastic, c.it.text("instanceId")); err != nil {
			return err
		}
		c.fill(object{"id": elastic.text("associationId"), "publicIp": elastic.text("publicIp"),
			"networkInterfaceId": elastic.text("networkInterface"), "privateIpAddress": elastic.text("privateIp")})
		return c.put("eip", elastic)
	},
	remove: func(c *call) error {
		elastic, err := c.get("eip", c.it.text("allocationId"))
		if err != nil || elastic == nil || elastic.text("associationId") != c.it.id() {
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

// associate gives an elastic address to an instance, in place of the public address that it has. The
// caller keeps the elastic address; the instance is kept here.
func (t tx) associate(elastic object, instanceID string) error {
	inst, err := t.must("instance", instanceID)
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
	in, err := t.must("vpc", network)
	if err != nil {
		return err
	}
	inst["publicIp"], inst["publicDns"] = ip, t.publicName(in, ip)
	return t.put("instance", inst)
}

// detach takes an elastic address off its instance, which gets an address of its own again if it had one.
func (t tx) detach(elastic object) error {
	inst, err := t.get("instance", elastic.text("instance"))
	if err != nil || inst == nil {
		return err
	}
	if err := t.dropPublic(inst); err != nil {
		return err
	}
	if err := t.ownPublic(inst); err != nil {
		return err
	}
	return t.put("instance", inst)
}

// dropPublic frees an instance's own address, or takes its elastic one off.
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
	elastic, err := t.must("eip", a.Allocation)
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

// hasOwnPublic says whether an instance's public address came with it.
func (t tx) hasOwnPublic(inst object) (bool, error) {
	ip := inst.text("publicIp")
	if ip == "" {
		return false, nil
	}
	var a address
	_, err := t.Get(publicIndex, ip, &a)
	return a.Allocation == "", err
}

// ownPublic gives an instance a public address of its own if it asks for one.
func (t tx) ownPublic(inst object) error {
	if !inst.flag("associatePublicIpAddress") {
		return nil
	}
	network, err := t.must("vpc", inst.text("_vpcId"))
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
