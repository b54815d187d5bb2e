// Package simulated simulates the machines on which remote commands run. An instance of the AWS model responds as a booted
// Ubuntu would: to the right user with the right key, if the security group allows the connection. Most of the
// program's scripts are not executed. Instead the package knows the effect of each, refuses what would fail on a real
// machine, and stores the result per instance in the rehearsal's state directory. Scripts that need nothing but kubectl
// are executed, with a stand-in for kubectl.
package simulated

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/cluster/model"
	"eco2/rehearsal/hosts/remote"
	"eco2/rehearsal/internal/setup"
	"eco2/rehearsal/internal/store"
)

// File is the name of the file with the machines' state in the rehearsal's state directory.
const File = "hosts.db"

const (
	sshPort = 22
	apiPort = 6443
)

// users lists the default users of Ubuntu's and Debian's images.
var users = []string{"ubuntu", "admin"}

// Machine is an instance, with what matters to those who connect to it.
type Machine struct {
	// ID and Name are the instance's id and its Name tag.
	ID, Name string
	// Network is the id of its VPC, in which private addresses are unique.
	Network             string
	PublicIP, PrivateIP string
	Zone                string
	Running             bool
	// Volumes are the ids of the program's EBS volumes that are attached to it.
	Volumes []string
	// AuthorizedKey is its key pair's public key, as a line of authorized_keys; empty without a key pair.
	AuthorizedKey string
	// HostKey is the public host key that its user data sets, as a line of authorized_keys; empty if the machine made its
	// own.
	HostKey string
}

// providerID returns the provider ID by which Kubernetes controllers find the machine.
func (m Machine) providerID() string { return "aws:///" + m.Zone + "/" + m.ID }

// Machines is the cloud in which the machines exist. Its methods return found as false for a machine that does not
// exist.
type Machines interface {
	ByID(id string) (m Machine, found bool, err error)
	ByPublicIP(address string) (m Machine, found bool, err error)
	ByPrivateIP(network, address string) (m Machine, found bool, err error)
	// Allows reports whether the security groups allow connections from an address to a TCP port of the machine. The
	// address is a private one if it belongs to the machine's network.
	Allows(m Machine, port int, from string) (bool, error)
}

// Hosts simulates the machines. It implements remote.Host, and its method Connect implements provider.Connect.
type Hosts struct {
	stateDir string
	machines Machines
	clusters *model.Model
	store    *store.Store
	// latency scales Durations.
	latency setup.Latency
}

// New returns simulated machines whose state is in a directory.
func New(stateDir string, machines Machines) (*Hosts, error) {
	s := &Hosts{
		stateDir: stateDir,
		machines: machines,
		clusters: model.Open(stateDir),
		store:    store.Open(filepath.Join(stateDir, File)),
	}
	var err error
	if s.latency, err = setup.LatencyFromEnv(); err != nil {
		return nil, err
	}
	return s, nil
}

// At returns the same machines with another latency factor.
func (s *Hosts) At(factor setup.Latency) *Hosts {
	other := *s
	other.latency = factor
	return &other
}

// machineKind is the kind of the machines' entries in the store. Their key is the instance id.
const machineKind = "machine"

// state holds the results of the scripts that ran on a machine.
type state struct {
	// Node is the host name that prepare.sh set. It is empty before.
	Node string `json:"node,omitempty"`
	// Versions holds the versions that prepare.sh installed, by the name of its flag: "kubernetes-version".
	Versions map[string]string `json:"versions,omitempty"`
	// Volume is the id of the volume with the cluster's state. It is empty before state.sh, and on workers.
	Volume string `json:"volume,omitempty"`
	// Cluster is the id of the machine's cluster. It is empty before init.sh or join.sh.
	Cluster      string `json:"cluster,omitempty"`
	ControlPlane bool   `json:"controlPlane,omitempty"`
	// Scripts holds the texts of the scripts that install.sh installed, by name without .sh.
	Scripts map[string]string `json:"scripts,omitempty"`
	// Recorded holds, on a control plane, the machines of the nodes as init.sh and join.sh recorded them. approve.sh
	// relies on them.
	Recorded map[string]recorded `json:"recorded,omitempty"`
	// OtherHostKey stands for the host key that replaced the machine's first one. It is zero as long as it has that one.
	OtherHostKey int `json:"otherHostKey,omitempty"`
	// KnownHosts holds the host keys of other machines that this one has connected to, by the names of their nodes.
	KnownHosts map[string]knownHost `json:"knownHosts,omitempty"`
	// Keys holds the lines that were added to authorized_keys. FirstKeyRemoved says that the key of the key pair was
	// removed from it.
	Keys            []string `json:"keys,omitempty"`
	FirstKeyRemoved bool     `json:"firstKeyOut,omitempty"`
}

// recorded is the machine of a node as init.sh or join.sh recorded it.
type recorded struct {
	Address    string `json:"address"`
	ProviderID string `json:"providerID"`
	// Joined is false for a node that was joined by an earlier version of the program, which did not record it.
	Joined bool `json:"joined,omitempty"`
}

// knownHost is the host key of the machine with this provider ID.
type knownHost struct {
	ProviderID string `json:"providerID"`
	HostKey    string `json:"hostKey"`
}

// hostKey returns the public host key that a machine presents. For a key that the machine made itself, it is a name.
func (s *Hosts) hostKey(m Machine) (string, error) {
	st, err := s.state(m.ID)
	switch {
	case err != nil:
		return "", err
	case st.OtherHostKey > 0:
		return fmt.Sprintf("key %d of %s\n", st.OtherHostKey, m.ID), nil
	case m.HostKey == "":
		return "the own key of " + m.ID + "\n", nil
	}
	return m.HostKey, nil
}

func (s *Hosts) state(id string) (st state, err error) {
	err = s.store.View(func(tx *store.Tx) error {
		_, err := tx.Get(machineKind, id, &st)
		return err
	})
	return st, err
}

// change updates the state of a machine in a transaction and returns the result. Two scripts may run on a machine at
// the same time, so to must change only the fields of its own script.
func (s *Hosts) change(id string, to func(*state)) (st state, err error) {
	err = s.store.Update(func(tx *store.Tx) error {
		if _, err := tx.Get(machineKind, id, &st); err != nil {
			return err
		}
		to(&st)
		return tx.Put(machineKind, id, st)
	})
	return st, err
}

// Run implements remote.Host.
func (s *Hosts) Run(ctx context.Context, session remote.Session) (int, error) {
	c := session.Connection
	machine, err := s.reach(c.Host, c.Port)
	if err == nil {
		err = s.checkHostKey(machine, c)
	}
	if err == nil {
		err = s.refuseConnection(machine, c)
	}
	if err == nil {
		err = s.authenticate(machine, c)
	}
	if err != nil {
		// The error names as many attempts as the real provider makes, but no time passes.
		if c.DialErrorLimit < 0 {
			return 0, fmt.Errorf("%w (and dialErrorLimit is -1: on a real network this would go on until the resource's time limit)", err)
		}
		return 0, remote.GaveUp(max(c.DialErrorLimit, 1), err)
	}
	for _, v := range session.Environment {
		// AcceptEnv in Ubuntu's sshd_config.
		if v.Name == "LANG" || strings.HasPrefix(v.Name, "LC_") {
			continue
		}
		if !v.Optional {
			return 0, fmt.Errorf("setting environment variable %s: ssh: setenv failed (does AcceptEnv of the machine's sshd name it?)", v.Name)
		}
		session.Warn("the machine refused the environment variable " + v.Name)
	}
	st, err := s.state(machine.ID)
	if err != nil {
		return 0, err
	}
	run, err := parse(session, machine.ID, st.Scripts)
	if err == nil {
		if err = s.latency.Wait(ctx, Durations[run.effective()]); err != nil {
			return 0, err
		}
		shell := &shell{Hosts: s, machine: machine, state: st, invocation: run, out: session.Stdout, err: session.Stderr}
		err = shell.run(ctx)
		if err == nil {
			err = s.dropConnection(run)
		}
	}
	var failure *failure
	if errors.As(err, &failure) {
		if failure.text == "" { // the script has printed its own message
			return failure.exit, nil
		}
		_, werr := io.WriteString(session.Stderr, failure.text+"\n")
		return failure.exit, werr
	}
	return 0, err
}

// checkHostKey returns the error of a handshake with a machine that does not have the host key that the connection
// requires.
func (s *Hosts) checkHostKey(m Machine, c remote.Connection) error {
	if c.HostKey == "" {
		return nil
	}
	actual, err := s.hostKey(m)
	if err != nil {
		return err
	}
	if strings.TrimSpace(c.HostKey) != strings.TrimSpace(actual) {
		return errors.New("ssh: handshake failed: ssh: host key mismatch")
	}
	return nil
}

// reach returns the machine that accepts connections at a public address and port, or the error of a dial that fails.
func (s *Hosts) reach(host string, port int) (Machine, error) {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	if net.ParseIP(host) == nil {
		return Machine{}, fmt.Errorf("dial tcp: lookup %s: no such host", host)
	}
	machine, found, err := s.machines.ByPublicIP(host)
	if err != nil {
		return Machine{}, err
	}
	if !found || !machine.Running {
		return Machine{}, fmt.Errorf("dial tcp %s: i/o timeout", address)
	}
	allowed, err := s.machines.Allows(machine, port, setup.OperatorAddress)
	if err != nil {
		return Machine{}, err
	}
	if !allowed {
		return Machine{}, fmt.Errorf("dial tcp %s: i/o timeout", address)
	}
	if port != sshPort && port != apiPort {
		return Machine{}, fmt.Errorf("dial tcp %s: connect: connection refused", address)
	}
	return machine, nil
}

// authenticate acts as the machine's sshd. It rejects passwords, as Ubuntu's images do.
func (s *Hosts) authenticate(machine Machine, c remote.Connection) error {
	methods := "none"
	if c.PrivateKey != "" {
		key, err := c.ParseKey()
		if err != nil {
			return err
		}
		if s.acceptsKey(machine, c.User, key) {
			return nil
		}
		methods = "none publickey"
	}
	return fmt.Errorf("ssh: handshake failed: ssh: unable to authenticate, attempted methods [%s], no supported methods remain", methods)
}

// acceptsKey reports whether a user can log in to a machine with a key.
func (s *Hosts) acceptsKey(machine Machine, user string, key ssh.Signer) bool {
	st, err := s.state(machine.ID)
	if err != nil || !slices.Contains(users, user) {
		return false
	}
	keys := st.Keys
	if !st.FirstKeyRemoved {
		keys = append(keys, machine.AuthorizedKey)
	}
	return slices.ContainsFunc(keys, func(line string) bool {
		authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		return err == nil && string(authorized.Marshal()) == string(key.PublicKey().Marshal())
	})
}

// failure is the error of a command that exits with a status other than 0. text is what it prints to standard error.
type failure struct {
	exit int
	text string
}

func (f *failure) Error() string { return f.text }

// die returns a failure like that of the scripts' function die.
func die(format string, args ...any) error {
	return &failure{exit: 1, text: "error: " + fmt.Sprintf(format, args...)}
}
