package simulated

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"eco2/rehearsal/hosts/remote"
	"eco2/rehearsal/internal/fault"
)

// The provider waits between two attempts to connect, longer each time up to a limit.
const (
	firstPause  = 100 * time.Millisecond
	longerBy    = 1.5
	longestWait = 5 * time.Second
)

// refuseConnection returns the error of a connection to a machine whose sshd does not run yet, if that fault is planted
// and lasts longer than the provider's attempts.
func (s *Hosts) refuseConnection(machine Machine, c remote.Connection) error {
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
		return nil // sshd runs before the last attempt
	}
	return fmt.Errorf("dial tcp %s: connect: connection refused", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
}

// dropConnection returns the error of a connection that breaks after the script has run and before its exit status
// arrives, if that fault is planted.
func (s *Hosts) dropConnection(run invocation) error {
	_, hit, err := fault.Trigger(s.stateDir, fault.Dropped, fault.Call{Name: run.work()})
	if err != nil || !hit {
		return err
	}
	return errors.New("wait: remote command exited without exit status or exit signal")
}

// work returns the name of a run for faults: its script and node, such as "prepare-k8s-redis", "join-k8s-redis" or
// "argocd".
func (i invocation) work() string {
	if node := i.flags["node"]; node != "" {
		return i.effective() + "-" + node
	}
	return i.effective()
}

// ChangeHostKey gives a machine another host key, as reinstalling its sshd would.
func (s *Hosts) ChangeHostKey(instanceID string) error {
	_, err := s.change(instanceID, func(st *state) { st.OtherHostKey++ })
	return err
}

// RestoreHostKey gives a machine its first host key again.
func (s *Hosts) RestoreHostKey(instanceID string) error {
	_, err := s.change(instanceID, func(st *state) { st.OtherHostKey = 0 })
	return err
}

// Authorize adds a line to a machine's authorized_keys.
func (s *Hosts) Authorize(instanceID, publicKey string) error {
	_, err := s.change(instanceID, func(st *state) { st.Keys = append(st.Keys, publicKey) })
	return err
}

// AuthorizeOnly overwrites a machine's authorized_keys with one line. This also removes the key of its key pair.
func (s *Hosts) AuthorizeOnly(instanceID, publicKey string) error {
	_, err := s.change(instanceID, func(st *state) { st.Keys, st.FirstKeyRemoved = []string{publicKey}, true })
	return err
}
