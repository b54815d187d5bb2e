// Package aws is the rehearsal's model of an AWS account: the objects that exist, who owns which address, and what the
// rules of security groups allow. Package provider creates and deletes objects as Pulumi's provider does, package api as
// AWS's API.
package aws

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"eco2/rehearsal/internal/store"
)

// StateFile is the name of the account's file in a rehearsal's state directory.
const StateFile = "aws.db"

// AccountID is the account ID of every rehearsal, the number that AWS uses in its own documentation.
const AccountID = "123456789012"

// URNKey is the property of an object with the URN of the resource that it was created for.
const URNKey = "_urn"

// Account holds everything that exists in AWS, for all stacks of a rehearsal. Several processes may use it at once.
type Account struct {
	store *store.Store
}

// Open returns the account of a state directory. Its file does not have to exist: an account is empty until something
// is created.
func Open(stateDir string) *Account {
	return &Account{store: store.Open(filepath.Join(stateDir, StateFile))}
}

// View calls a function to read the account, as it is in one region.
func (a *Account) View(region string, read func(Tx) error) error {
	return a.store.View(func(t *store.Tx) error { return read(Tx{t, region}) })
}

// Update calls a function to change the account in one region. If the function fails, nothing is changed.
func (a *Account) Update(region string, change func(Tx) error) error {
	return a.store.Update(func(t *store.Tx) error { return change(Tx{t, region}) })
}

// Instance is an EC2 instance.
type Instance struct {
	ID               string            `json:"id"`
	Image            string            `json:"ami"`
	Type             string            `json:"instanceType"`
	State            string            `json:"instanceState"`
	AvailabilityZone string            `json:"availabilityZone"`
	Region           string            `json:"_region"`
	VPCID            string            `json:"_vpcId"`
	SubnetID         string            `json:"subnetId"`
	SecurityGroupIDs []string          `json:"vpcSecurityGroupIds"`
	KeyName          string            `json:"keyName"`
	Profile          string            `json:"iamInstanceProfile"`
	PrivateIP        string            `json:"privateIp"`
	PrivateDNS       string            `json:"privateDns"`
	PublicIP         string            `json:"publicIp"` // empty if it has none
	PublicDNS        string            `json:"publicDns"`
	UserData         string            `json:"_userData"`      // in plain text; the provider's outputs have only its hash
	AuthorizedKey    string            `json:"_authorizedKey"` // the key pair's public key when the instance was started
	Tags             map[string]string `json:"tagsAll"`
	RootVolume       RootVolume        `json:"rootBlockDevice"`
	MetadataOptions  MetadataOptions   `json:"metadataOptions"`
}

// Name returns the instance's Name tag.
func (i Instance) Name() string { return i.Tags["Name"] }

// RootVolume is an instance's root disk.
type RootVolume struct {
	ID        string `json:"volumeId"`
	SizeGiB   int    `json:"volumeSize"`
	Type      string `json:"volumeType"`
	Encrypted bool   `json:"encrypted"`
}

// MetadataOptions configure access to the instance metadata service.
type MetadataOptions struct {
	Tokens   string `json:"httpTokens"` // "required" or "optional"
	HopLimit int    `json:"httpPutResponseHopLimit"`
}

// VPC is a virtual private cloud.
type VPC struct {
	ID   string            `json:"id"`
	CIDR string            `json:"cidrBlock"`
	Tags map[string]string `json:"tagsAll"`
}

// Subnet is a part of a VPC's addresses in one availability zone.
type Subnet struct {
	ID               string            `json:"id"`
	VPCID            string            `json:"vpcId"`
	CIDR             string            `json:"cidrBlock"`
	AvailabilityZone string            `json:"availabilityZone"`
	Tags             map[string]string `json:"tagsAll"`
}

// Group is a security group.
type Group struct {
	ID    string            `json:"id"`
	Name  string            `json:"name"`
	VPCID string            `json:"vpcId"`
	Tags  map[string]string `json:"tagsAll"`
}

// KeyPair is a named public SSH key.
type KeyPair struct {
	Name        string `json:"keyName"`
	PublicKey   string `json:"publicKey"` // as in authorized_keys
	Fingerprint string `json:"fingerprint"`
}

// Parameter is a parameter of Systems Manager. Its value is stored in plain text.
type Parameter struct {
	Name          string  `json:"name"`
	Type          string  `json:"type"`
	Value         string  `json:"value"`
	InsecureValue string  `json:"insecureValue"`
	Description   string  `json:"description"`
	Version       float64 `json:"version"`
}

// Certificate is an ACM certificate.
type Certificate struct {
	ARN    string `json:"arn"`
	Domain string `json:"domainName"`
	// Names are all names that the certificate is valid for, including Domain.
	Names  []string `json:"subjectAlternativeNames"`
	Status string   `json:"status"` // "ISSUED", or "PENDING_VALIDATION"
}

func all[T any](a *Account, kind string) (list []T, err error) {
	err = a.store.View(func(t *store.Tx) error {
		return store.Each(t, kind, func(_ string, v T) error {
			list = append(list, v)
			return nil
		})
	})
	return list, err
}

// Instances lists all instances.
func (a *Account) Instances() ([]Instance, error) { return all[Instance](a, "instance") }

// VPCs lists all VPCs.
func (a *Account) VPCs() ([]VPC, error) { return all[VPC](a, "vpc") }

// Subnets lists all subnets.
func (a *Account) Subnets() ([]Subnet, error) { return all[Subnet](a, "subnet") }

// Groups lists all security groups except the default groups of VPCs.
func (a *Account) Groups() ([]Group, error) { return all[Group](a, "securityGroup") }

// Parameters lists the parameters of all regions.
func (a *Account) Parameters() ([]Parameter, error) { return all[Parameter](a, "parameter") }

// ParametersIn lists the parameters of one region.
func (a *Account) ParametersIn(region string) (list []Parameter, err error) {
	err = a.store.View(func(t *store.Tx) error {
		return store.Each(t, "parameter", func(id string, p Parameter) error {
			if strings.HasPrefix(id, region+" ") { // see tx.key
				list = append(list, p)
			}
			return nil
		})
	})
	return list, err
}

// Certificates lists all certificates of ACM.
func (a *Account) Certificates() ([]Certificate, error) { return all[Certificate](a, "certificate") }

// ReleaseImage publishes an image in every region, so that look-ups find it and instances can boot it.
func (a *Account) ReleaseImage(i Image) error {
	return a.store.Update(func(t *store.Tx) error { return t.Put(imageKind, i.Name, i) })
}

// Image finds an image of a region by its ID; ok is false if there is none.
func (a *Account) Image(region, id string) (image Image, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		list, err := Tx{t, region}.Images()
		for _, i := range list {
			if i.In(region) == id {
				image, ok = i, true
			}
		}
		return err
	})
	return image, ok, err
}

// KeyPair finds a key pair of a region by name; ok is false if there is none.
func (a *Account) KeyPair(region, name string) (pair KeyPair, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) (err error) {
		ok, err = t.Get("keyPair", Tx{t, region}.key("keyPair", name), &pair)
		return err
	})
	return pair, ok, err
}

// SetInstanceState sets an instance's state to "stopped" or "running" without the program knowing about it.
func (a *Account) SetInstanceState(id, state string) error {
	return a.store.Update(func(t *store.Tx) error {
		o, err := Tx{Tx: t}.Require("instance", id)
		if err != nil {
			return err
		}
		o["instanceState"] = state
		return Tx{Tx: t}.Keep("instance", o)
	})
}

// RoleOf returns the name of an instance profile's role; empty if the profile does not exist or has no role.
func (a *Account) RoleOf(profile string) (role string, err error) {
	err = a.store.View(func(t *store.Tx) error {
		o, err := Tx{Tx: t}.Find("instanceProfile", profile)
		role = o.Text("role")
		return err
	})
	return role, err
}

// InstanceByAddress finds the instance with a public or private address; ok is false if there is none. It fails if
// instances in two VPCs have the same private address.
func (a *Account) InstanceByAddress(ip netip.Addr) (i Instance, ok bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		id, err := instanceAt(t, ip)
		if err == nil && id != "" {
			ok, err = t.Get("instance", id, &i)
		}
		return err
	})
	return i, ok, err
}

// instanceAt returns the ID of the instance with an address, or "".
func instanceAt(t *store.Tx, ip netip.Addr) (id string, err error) {
	var owner Address
	if _, err := t.Get(PublicIndex, ip.String(), &owner); err != nil || owner.Instance != "" {
		return owner.Instance, err
	}
	err = store.Each(t, "vpc", func(vpcID string, _ VPC) error {
		var owner Address
		ok, err := t.Get(PrivateIndex, privateKey(vpcID, ip), &owner)
		switch {
		case err != nil || !ok:
			return err
		case id != "":
			return fmt.Errorf("finding the instance at %s: %s and %s both have this address, as their VPCs overlap", ip, id, owner.Instance)
		}
		id = owner.Instance
		return nil
	})
	return id, err
}

// Rules lists all rules of a group, both inline rules and separate resources.
func (a *Account) Rules(groupID string) (rules []Rule, err error) {
	err = a.store.View(func(t *store.Tx) error {
		for _, d := range []Direction{Ingress, Egress} {
			list, err := Tx{Tx: t}.Rules(d)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.GroupID == groupID {
					rules = append(rules, r)
				}
			}
		}
		return nil
	})
	return rules, err
}

// AllowsInbound reports whether an instance's security groups allow TCP connections from a source to a port. A rule
// that references a group allows the private addresses of the group's instances and load balancers, as in AWS.
func (a *Account) AllowsInbound(instanceID string, port int, source netip.Addr) (bool, error) {
	return a.allows(Ingress, instanceID, port, source)
}

// AllowsOutbound reports whether an instance's security groups allow TCP connections from it to a port of a
// destination.
func (a *Account) AllowsOutbound(instanceID string, port int, destination netip.Addr) (bool, error) {
	return a.allows(Egress, instanceID, port, destination)
}

func (a *Account) allows(d Direction, instanceID string, port int, peer netip.Addr) (allowed bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		var inst Instance
		if ok, err := t.Get("instance", instanceID, &inst); err != nil {
			return err
		} else if !ok {
			return Refuse(Absent["instance"][0], Absent["instance"][1], instanceID)
		}
		allowed, err = Tx{Tx: t}.allow(d, inst.VPCID, inst.SecurityGroupIDs, port, peer.Unmap())
		return err
	})
	return allowed, err
}

// AllowsInterface reports whether the security groups of a load balancer's interface allow TCP traffic with a peer, in
// one direction.
func (a *Account) AllowsInterface(d Direction, i Interface, port int, peer netip.Addr) (allowed bool, err error) {
	err = a.store.View(func(t *store.Tx) error {
		allowed, err = Tx{Tx: t}.allow(d, i.VPCID, i.SecurityGroupIDs, port, peer.Unmap())
		return err
	})
	return allowed, err
}

// allow reports whether any rule of these groups allows TCP traffic on a port with a peer.
func (t Tx) allow(d Direction, vpcID string, groups []string, port int, peer netip.Addr) (bool, error) {
	theirs, err := t.groupsAt(vpcID, peer)
	if err != nil {
		return false, err
	}
	rules, err := t.Rules(d)
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return slices.Contains(groups, r.GroupID) && (r.Allows(port, peer) ||
			r.ReferencedGroupID != "" && r.allowsTCP(port) && slices.Contains(theirs, r.ReferencedGroupID))
	}), err
}

// IDsByURN lists the IDs of the objects that were created for a URN. Tests use it to find what a killed engine left; on
// AWS, people find that by tags and names.
func (a *Account) IDsByURN(urn string) (ids []string, err error) {
	err = a.store.View(func(t *store.Tx) error {
		kinds, err := t.Kinds()
		for _, kind := range kinds {
			if err == nil && !strings.HasPrefix(kind, "index.") {
				err = store.Each(t, kind, func(_ string, o Object) error {
					if o.Text(URNKey) == urn {
						ids = append(ids, o.ID())
					}
					return nil
				})
			}
		}
		return err
	})
	return ids, err
}

// Existing is one object in the account.
type Existing struct {
	// Kind is the short name of a resource type, for instance "subnet", or one of "volume", "networkInterface",
	// "loadbalancer", "targetGroup".
	Kind, ID, Name string
}

// Inventory lists the objects in an account, ordered by kind and ID.
type Inventory []Existing

// Counts returns the number of objects of each kind.
func (inv Inventory) Counts() map[string]int {
	counts := map[string]int{}
	for _, e := range inv {
		counts[e.Kind]++
	}
	return counts
}

// String returns the counts, for instance "2 subnet, 1 vpc".
func (inv Inventory) String() string {
	counts := inv.Counts()
	parts := make([]string, 0, len(counts))
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// Inventory lists everything that would cost money or block a delete. It leaves out released images and interfaces, and
// the route table, group and ACL that each VPC has by default.
func (a *Account) Inventory() (inv Inventory, err error) {
	err = a.store.View(func(t *store.Tx) error {
		kinds, err := t.Kinds()
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			if strings.HasPrefix(kind, "index.") {
				continue
			}
			err := store.Each(t, kind, func(id string, o Object) error {
				if kind == InterfaceKind && o.released() {
					return nil
				}
				inv = append(inv, Existing{Kind: kind, ID: id, Name: o.Title()})
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return inv, err
}
