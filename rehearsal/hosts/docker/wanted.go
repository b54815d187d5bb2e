package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"eco2/rehearsal/cloud/aws"
)

// desired is the desired state, derived from the account.
type desired struct {
	networks []network
	machines []machine
	// volumes are all volumes, whether attached or not.
	volumes []aws.Volume
	// snapshots are all snapshots.
	snapshots []aws.Snapshot
}

// network is a VPC.
type network struct {
	ID, Name string
	CIDR     netip.Prefix
}

// machine is an instance.
type machine struct {
	aws.Instance
	network network
	// hostname and login are the host name and the first user that cloud-init would set up from the user data and the
	// image.
	hostname, login string
	// hostKey is the private SSH host key in the user data; empty without one.
	hostKey string
	// authorizedKey is the key pair's public key as a line of authorized_keys; empty without a key pair.
	authorizedKey string
	// firewall is an nftables ruleset.
	firewall string
	// disks are the volumes that are attached to it.
	disks []disk
}

// gateway returns the VPC's first address, that of its router: this host.
func (n network) gateway() netip.Addr { return n.CIDR.Masked().Addr().Next() }

// resolver returns the VPC's second address, at which AWS has its DNS.
func (n network) resolver() netip.Addr { return n.gateway().Next() }

// short returns the distinctive part of an AWS id: "0a1b2c3d" of "vpc-00a1b2c3d4e5f6071".
func short(id string) string {
	_, hex, _ := strings.Cut(id, "-")
	hex = strings.TrimPrefix(hex, "0")
	return hex[:min(len(hex), 8)]
}

// bridge returns the name of the network's device on this host. Linux allows at most 15 characters.
func (n network) bridge() string { return "eco2-" + short(n.ID) }

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// dockerName returns a readable name for a Docker object that is unique on this host.
func dockerName(name, id string) string {
	return strings.Trim(notInNames.ReplaceAllString(name, "-"), "-.") + "-" + short(id)
}

// read derives the desired state from the account.
func read(account *aws.Account) (w desired, err error) {
	vpcs, err := account.VPCs()
	if err != nil {
		return w, fmt.Errorf("listing VPCs: %w", err)
	}
	instances, err := account.Instances()
	if err != nil {
		return w, fmt.Errorf("listing instances: %w", err)
	}
	if w.volumes, err = account.EveryVolume(); err != nil {
		return w, fmt.Errorf("listing volumes: %w", err)
	}
	if w.snapshots, err = account.Snapshots(); err != nil {
		return w, fmt.Errorf("listing snapshots: %w", err)
	}
	networks := map[string]network{}
	for _, v := range vpcs {
		cidr, err := netip.ParsePrefix(v.CIDR)
		if err != nil {
			return w, fmt.Errorf("reading the network of %s: %w", v.ID, err)
		}
		name := v.Tags["Name"]
		if name == "" {
			name = "vpc"
		}
		n := network{ID: v.ID, Name: name, CIDR: cidr.Masked()}
		networks[v.ID] = n
		w.networks = append(w.networks, n)
	}
	members := map[string][]netip.Addr{}
	for _, i := range instances {
		address, err := netip.ParseAddr(i.PrivateIP)
		if err != nil {
			return w, fmt.Errorf("reading the address of %s: %w", i.ID, err)
		}
		for _, group := range i.SecurityGroupIDs {
			members[group] = append(members[group], address)
		}
	}
	interfaces, err := account.Interfaces()
	if err != nil {
		return w, fmt.Errorf("listing the load balancers' interfaces: %w", err)
	}
	for _, i := range interfaces {
		for _, group := range i.SecurityGroupIDs {
			members[group] = append(members[group], i.PrivateIP)
		}
	}
	rules := map[string][]aws.Rule{}
	for group := range members {
		if rules[group], err = account.Rules(group); err != nil {
			return w, fmt.Errorf("reading the rules of %s: %w", group, err)
		}
	}
	for _, i := range instances {
		n, ok := networks[i.VPCID]
		if !ok {
			return w, fmt.Errorf("reading %s: its VPC %s does not exist", i.ID, i.VPCID)
		}
		config, err := i.CloudConfig()
		if err != nil {
			return w, err
		}
		m := machine{Instance: i, network: n, hostname: hostname(i, config), hostKey: config.SSHKeys.Private}
		if m.login, err = login(account, i); err != nil {
			return w, err
		}
		if i.KeyName != "" {
			pair, _, err := account.KeyPair(i.Region, i.KeyName) // a key pair that was deleted since permits no login
			if err != nil {
				return w, fmt.Errorf("reading the key pair of %s: %w", i.ID, err)
			}
			m.authorizedKey = pair.PublicKey
		}
		var own []aws.Rule
		for _, group := range i.SecurityGroupIDs {
			own = append(own, rules[group]...)
		}
		m.firewall = firewall(own, members, n.resolver())
		m.disks = disksOf(w.volumes, i.ID)
		w.machines = append(w.machines, m)
	}
	return w, nil
}

// title returns the machine's Name tag, or its instance id without one.
func (m machine) title() string {
	if name := m.Name(); name != "" {
		return name
	}
	return m.ID
}

// launch returns a hash of the instance type and the user data. AWS stops and starts an instance to change either, so
// the machine must be restarted when the hash changes.
func (m machine) launch() string {
	sum := sha256.Sum256([]byte(m.Type + "\n" + m.UserData))
	return hex.EncodeToString(sum[:])
}

// hostname returns the host name that the user data sets, or else the first label of the private DNS name.
func hostname(i aws.Instance, config aws.CloudConfig) string {
	if config.Hostname != "" {
		return config.Hostname
	}
	name, _, _ := strings.Cut(i.PrivateDNS, ".")
	return name
}

// logins are the first users of images, by a part of the image's name. The machines themselves all run Debian, whatever
// the image's name says.
var logins = []struct{ image, user string }{
	{"ubuntu", "ubuntu"}, {"debian", "admin"},
}

// login returns the first user of an instance's image, for whom cloud-init installs the key.
func login(account *aws.Account, i aws.Instance) (string, error) {
	image, ok, err := account.Image(i.Region, i.Image)
	if err != nil {
		return "", fmt.Errorf("reading the image of %s: %w", i.ID, err)
	}
	if ok {
		at := slices.IndexFunc(logins, func(l struct{ image, user string }) bool { return strings.Contains(image.Name, l.image) })
		if at >= 0 {
			return logins[at].user, nil
		}
	}
	return "", fmt.Errorf("starting %s: the first user of its image %s (%q) is unknown; add it to logins in rehearsal/hosts/docker", i.ID, i.Image, image.Name)
}
