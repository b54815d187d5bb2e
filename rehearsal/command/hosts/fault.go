package hosts

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"eco2/rehearsal/command"
	"eco2/rehearsal/fault"
)

// The provider waits between two tries to connect, longer each time up to a limit.
const (
	firstPause  = 100 * time.Millisecond
	longerBy    = 1.5
	longestWait = 5 * time.Second
)

// refusing is a machine on which nobody listens yet, for longer than the provider tries.
func (s *Simulated) refusing(machine Machine, c command.Connection) error {
	met, hit, err := fault.Trigger(s.stateDir, fault.Refused, fault.Call{Name: machine.Name})
	if err != nil || !hit {
		return err
	}
	var waited time.Duration
	pause, tries := firstPause, 1
	for waited.Seconds() < met.Seconds {
		waited += pause
		pause = min(time.Duration(float64(pause)*longerBy), longestWait)
		tries++
	}
	if tries <= c.DialErrorLimit {
		return nil // it listens by then
	}
	return fmt.Errorf("dial tcp %s: connect: connection refused", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
}

// dropped is a connection that breaks before the script's end is heard of.
func (s *Simulated) dropped(run invocation) error {
	_, hit, err := fault.Trigger(s.stateDir, fault.Dropped, fault.Call{Name: run.work()})
	if err != nil || !hit {
		return err
	}
	return errors.New("wait: remote command exited without exit status or exit signal")
}

// work names a run by what is done: "prepare-k8s-redis", "join-k8s-redis", "argocd".
func (i invocation) work() string {
	if node := i.flags["node"]; node != "" {
		return i.effective() + "-" + node
	}
	return i.effective()
}

// ChangeHostKey gives a machine another host key, as a new installation of its sshd would.
func (s *Simulated) ChangeHostKey(instanceID string) error {
	_, err := s.change(instanceID, func(st *state) { st.HostKey++ })
	return err
}

// ForgetHost removes a node's file from what another machine remembers of host keys.
func (s *Simulated) ForgetHost(instanceID, node string) error {
	_, err := s.change(instanceID, func(st *state) { delete(st.KnownHosts, node) })
	return err
}

// Authorize adds a line to a machine's authorized_keys.
func (s *Simulated) Authorize(instanceID, publicKey string) error {
	_, err := s.change(instanceID, func(st *state) { st.Keys = append(st.Keys, publicKey) })
	return err
}

// AuthorizeOnly overwrites a machine's authorized_keys with one line: the key that it was started with is out too.
func (s *Simulated) AuthorizeOnly(instanceID, publicKey string) error {
	_, err := s.change(instanceID, func(st *state) { st.Keys, st.FirstKeyOut = []string{publicKey}, true })
	return err
}
