// Package hosts simulates the machines that remote commands run on. A machine of the AWS model answers
// as a booted Ubuntu would: to the right user with the right key, through an open port. It does not run
// most of the program's scripts but knows what each of them achieves, refuses what would fail on a real
// machine, and keeps what came of it, per instance, in the rehearsal's state directory. Scripts that need
// nothing but kubectl do run, with a stand-in for that.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"eco2/rehearsal/command"
	"eco2/rehearsal/kubernetes/model"
	"eco2/rehearsal/latency"
	"eco2/rehearsal/store"
)

const (
	// OperatorEnv is the address from which the rehearsal's user reaches the machines.
	OperatorEnv = "ECO2_REHEARSAL_OPERATOR"
	// DefaultOperator is in the range that carriers keep for themselves (RFC 6598): the AWS model gives
	// the addresses of the documentation ranges to its machines.
	DefaultOperator = "100.64.0.10"

	// File is what the machines became, below the rehearsal's state directory.
	File = "hosts.db"
)

const (
	sshPort = 22
	apiPort = 6443
)

// users are those that images let in: Ubuntu's and Debian's.
var users = []string{"ubuntu", "admin"}

// Machine is an instance as its network sees it.
type Machine struct {
	// ID and Name are the instance's id and its Name tag.
	ID, Name string
	// Network is the id of its VPC, in which private addresses are unique.
	Network             string
	PublicIP, PrivateIP string
	Zone                string
	Running             bool
	// AuthorizedKey is its key pair's public key, as a line of authorized_keys; empty without a key pair.
	AuthorizedKey string
}

// providerID is what a cloud controller looks the machine up by.
func (m Machine) providerID() string { return "aws:///" + m.Zone + "/" + m.ID }

// Machines is the cloud that the machines are in. Found is false for what does not exist.
type Machines interface {
	ByID(id string) (m Machine, found bool, err error)
	ByPublicIP(address string) (m Machine, found bool, err error)
	ByPrivateIP(network, address string) (m Machine, found bool, err error)
	// Admits says whether packets to a TCP port of the machine arrive from an address, which is private
	// if it belongs to the machine's network.
	Admits(m Machine, port int, from string) (bool, error)
}

// Simulated is the machines. It implements command.Host, and Connect implements kubernetes.Connect.
type Simulated struct {
	stateDir string
	machines Machines
	clusters *model.Model
	store    *store.Store
	operator string
	// latency scales Durations.
	latency latency.Factor
}

// New simulates machines with the state in a directory.
func New(stateDir string, machines Machines) (*Simulated, error) {
	s := &Simulated{
		stateDir: stateDir,
		machines: machines,
		clusters: model.Open(stateDir),
		store:    store.Open(filepath.Join(stateDir, File)),
		operator: DefaultOperator,
	}
	if operator := os.Getenv(OperatorEnv); operator != "" {
		if net.ParseIP(operator) == nil {
			return nil, fmt.Errorf("reading %s: %q is no IP address", OperatorEnv, operator)
		}
		s.operator = operator
	}
	var err error
	if s.latency, err = latency.FromEnv(); err != nil {
		return nil, err
	}
	return s, nil
}

// At is the machines at another factor of latency.
func (s *Simulated) At(factor latency.Factor) *Simulated {
	other := *s
	other.latency = factor
	return &other
}

// machineKind is the kind of state in the store, by instance id.
const machineKind = "machine"

// state is what scripts made of a machine.
type state struct {
	// Node is the name that prepare.sh gave it; empty before.
	Node string `json:"node,omitempty"`
	// Versions are those that prepare.sh installed, by its flags: "kubernetes-version".
	Versions map[string]string `json:"versions,omitempty"`
	// Cluster is the id of the cluster that it is in; empty before init.sh or a join.
	Cluster      string `json:"cluster,omitempty"`
	ControlPlane bool   `json:"controlPlane,omitempty"`
	// Scripts are the texts that install.sh put on it, by name without .sh.
	Scripts map[string]string `json:"scripts,omitempty"`
	// Recorded are the machines that a control plane's scripts know the nodes by, and that approve.sh goes by.
	Recorded map[string]recorded `json:"recorded,omitempty"`
	// HostKey counts the host keys that it has had, and KnownHosts are those that it remembers of others, by
	// the names of their nodes, for the machine with that provider id.
	HostKey    int                  `json:"hostKey,omitempty"`
	KnownHosts map[string]knownHost `json:"knownHosts,omitempty"`
	// Keys are those that somebody added to its authorized_keys, and FirstKeyOut says that the one it was started
	// with is in there no more.
	Keys        []string `json:"keys,omitempty"`
	FirstKeyOut bool     `json:"firstKeyOut,omitempty"`
}

// recorded is what init.sh and join.sh say of a node.
type recorded struct {
	Address    string `json:"address"`
	ProviderID string `json:"providerID"`
	// Joined is false for a node that a script which recorded nothing had put into the cluster.
	Joined bool `json:"joined,omitempty"`
}

type knownHost struct {
	ProviderID string `json:"providerID"`
	HostKey    int    `json:"hostKey"`
}

func (s *Simulated) state(id string) (st state, err error) {
	err = s.store.View(func(tx *store.Tx) error {
		_, err := tx.Get(machineKind, id, &st)
		return err
	})
	return st, err
}

// change makes a change to what a machine is and returns the outcome. Two scripts may run on a machine at
// once, so each changes only what is its own.
func (s *Simulated) change(id string, to func(*state)) (st state, err error) {
	err = s.store.Update(func(tx *store.Tx) error {
		if _, err := tx.Get(machineKind, id, &st); err != nil {
			return err
		}
		to(&st)
		return tx.Put(machineKind, id, st)
	})
	return st, err
}

// Run implements command.Host.
func (s *Simulated) Run(ctx context.Context, session command.Session) (int, error) {
	c := session.Connection
	if c.HostKey != "" {
		return 0, errors.New("the simulated machines have no host keys: leave connection.hostKey unset")
	}
	machine, err := s.reach(c.Host, c.Port)
	if err == nil {
		err = s.refusing(machine, c)
	}
	if err == nil {
		err = s.authenticate(machine, c)
	}
	if err != nil {
		// As many attempts as the real provider makes, without the time they take.
		if c.DialErrorLimit < 0 {
			return 0, fmt.Errorf("%w (and dialErrorLimit is -1: on a real network this would go on until the resource's time limit)", err)
		}
		return 0, command.GaveUp(max(c.DialErrorLimit, 1), err)
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
		shell := &shell{Simulated: s, machine: machine, state: st, invocation: run, out: session.Stdout, err: session.Stderr}
		err = shell.run(ctx)
		if err == nil {
			err = s.dropped(run)
		}
	}
	var failure *failure
	if errors.As(err, &failure) {
		if failure.text == "" { // it has said so itself
			return failure.exit, nil
		}
		_, werr := io.WriteString(session.Stderr, failure.text+"\n")
		return failure.exit, werr
	}
	return 0, err
}

// reach finds the machine that answers at a public address and port; not to answer is a dial's time-out.
func (s *Simulated) reach(host string, port int) (Machine, error) {
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
	admitted, err := s.machines.Admits(machine, port, s.operator)
	if err != nil {
		return Machine{}, err
	}
	if !admitted {
		return Machine{}, fmt.Errorf("dial tcp %s: i/o timeout", address)
	}
	if port != sshPort && port != apiPort {
		return Machine{}, fmt.Errorf("dial tcp %s: connect: connection refused", address)
	}
	return machine, nil
}

// authenticate is the machine's sshd: Ubuntu's images know no passwords.
func (s *Simulated) authenticate(machine Machine, c command.Connection) error {
	methods := "none"
	if c.PrivateKey != "" {
		key, err := c.ParseKey()
		if err != nil {
			return err
		}
		if s.lets(machine, c.User, key) {
			return nil
		}
		methods = "none publickey"
	}
	return fmt.Errorf("ssh: handshake failed: ssh: unable to authenticate, attempted methods [%s], no supported methods remain", methods)
}

// lets says whether a machine lets a user in with a key.
func (s *Simulated) lets(machine Machine, user string, key ssh.Signer) bool {
	st, err := s.state(machine.ID)
	if err != nil || !slices.Contains(users, user) {
		return false
	}
	keys := st.Keys
	if !st.FirstKeyOut {
		keys = append(keys, machine.AuthorizedKey)
	}
	return slices.ContainsFunc(keys, func(line string) bool {
		authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		return err == nil && string(authorized.Marshal()) == string(key.PublicKey().Marshal())
	})
}

// failure is a command that ended with another exit status than 0, with what it said.
type failure struct {
	exit int
	text string
}

func (f *failure) Error() string { return f.text }

// die fails as the scripts do.
func die(format string, args ...any) error {
	return &failure{exit: 1, text: "error: " + fmt.Sprintf(format, args...)}
}
