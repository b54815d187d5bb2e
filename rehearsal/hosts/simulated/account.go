package simulated

import (
	"fmt"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cloud/aws"
)

// account implements Machines with the AWS model.
type account struct{ *aws.Account }

// OpenAccount opens the AWS model in a rehearsal's state directory.
func OpenAccount(stateDir string) Machines { return account{aws.Open(stateDir)} }

func (a account) ByID(id string) (Machine, bool, error) {
	return a.find(func(i aws.Instance) bool { return i.ID == id })
}

func (a account) ByPrivateIP(network, address string) (Machine, bool, error) {
	return a.find(func(i aws.Instance) bool { return i.VPCID == network && i.PrivateIP == address })
}

func (a account) find(matches func(aws.Instance) bool) (Machine, bool, error) {
	instances, err := a.Instances()
	if err != nil {
		return Machine{}, false, fmt.Errorf("listing instances: %w", err)
	}
	for _, i := range instances {
		if matches(i) {
			m, err := a.machineOf(i)
			return m, err == nil, err
		}
	}
	return Machine{}, false, nil
}

func (a account) ByPublicIP(address string) (Machine, bool, error) {
	ip, _ := netip.ParseAddr(address)    // an invalid address, which no machine has, if it cannot be parsed
	if !ip.IsValid() || ip.IsPrivate() { // private addresses cannot be reached from outside the VPC
		return Machine{}, false, nil
	}
	instance, found, err := a.InstanceByAddress(ip)
	if err != nil || !found {
		return Machine{}, false, err
	}
	machine, err := a.machineOf(instance)
	if err != nil {
		return Machine{}, false, err
	}
	machine.PublicIP = address // an elastic address may have been associated after the instance was created
	return machine, true, nil
}

func (a account) machineOf(i aws.Instance) (Machine, error) {
	volumes, err := a.EveryVolume()
	if err != nil {
		return Machine{}, fmt.Errorf("listing volumes: %w", err)
	}
	config, err := i.CloudConfig()
	if err != nil {
		return Machine{}, err
	}
	m := Machine{
		ID: i.ID, Name: i.Name(), Network: i.VPCID, PublicIP: i.PublicIP, PrivateIP: i.PrivateIP,
		Zone: i.AvailabilityZone, Running: i.State == "running", AuthorizedKey: i.AuthorizedKey,
	}
	if m.Name == "" {
		m.Name = i.ID
	}
	for _, v := range volumes {
		if v.URN != "" && v.InstanceID == i.ID {
			m.Volumes = append(m.Volumes, v.ID)
		}
	}
	if private := config.SSHKeys.Private; private != "" {
		key, err := ssh.ParsePrivateKey([]byte(private))
		if err != nil {
			return Machine{}, fmt.Errorf("reading the host key in the user data of %s: %w", i.ID, err)
		}
		m.HostKey = string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	return m, nil
}

// Allows implements Machines.
func (a account) Allows(m Machine, port int, from string) (bool, error) {
	ip, err := netip.ParseAddr(from)
	if err != nil {
		return false, fmt.Errorf("reading the address %q: %w", from, err)
	}
	return a.AllowsInbound(m.ID, port, ip)
}
