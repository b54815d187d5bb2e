// Package fault injects faults. Tests plant faults in a state directory, where the models of AWS, machines and clusters
// look for them: each fault hits a number of calls on some resources and is then over.
package fault

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"eco2/rehearsal/internal/store"
)

// Kind is the kind of a fault.
type Kind string

// The kinds.
const (
	// Throttled: AWS throttles the call for longer than the provider retries.
	Throttled Kind = "throttled"
	// Unfinished: AWS has created the object, but it never becomes ready.
	Unfinished Kind = "unfinished"
	// Hang: the operation is done, but the response is not sent until the caller has gone away.
	Hang Kind = "hang"
	// Failed: the operation is rejected without having done anything.
	Failed Kind = "failed"
	// Refused: the machine refuses connections for Seconds.
	Refused Kind = "refused"
	// Dropped: the connection breaks after the script has run and before its result has been received.
	Dropped Kind = "dropped"
	// TokenExpired: the token of a join has expired when kubeadm uses it.
	TokenExpired Kind = "token expired"
	// OtherContent: a downloaded file differs from the pinned one.
	OtherContent Kind = "other content"
	// APIRestart: the API server is unreachable for a moment in the middle of a release, which is rolled back.
	APIRestart Kind = "API restart"
	// APIGone: the API server is unreachable for longer than the release's timeout, so the release stays pending.
	APIGone Kind = "API gone"
	// Held: AWS keeps a deleted load balancer's interfaces for Seconds, scaled by the latency factor.
	Held Kind = "held interfaces"
	// NeverReady: the pods of a release do not become ready, and it is rolled back.
	NeverReady Kind = "never ready"
)

// Fault describes a fault and the calls that it hits.
type Fault struct {
	Kind Kind
	// Method is the engine's method ("Create"), Type the resource's type, and Name a pattern for its name in the syntax
	// of path.Match. An empty field matches everything.
	Method, Type, Name string
	// Times is the number of calls that it still hits.
	Times int
	// Seconds is the duration of a fault whose kind has one.
	Seconds float64
}

// file is the name of the file with the faults, in the state directory.
const file = "faults.db"

const (
	faultKind = "fault"
	metKind   = "met"
)

// Plant adds a fault to a state directory.
func Plant(stateDir string, f Fault) error {
	return open(stateDir).Update(func(tx *store.Tx) error { return tx.Put(faultKind, key(f), f) })
}

func key(f Fault) string { return fmt.Sprintf("%s %s %s %s", f.Kind, f.Method, f.Type, f.Name) }

// Call is a call of the engine on a resource, which a fault may hit.
type Call struct{ Method, Type, Name string }

func open(stateDir string) *store.Store { return store.Open(filepath.Join(stateDir, file)) }

// Trigger reports whether a fault of this kind hits a call, and counts the hit.
func Trigger(stateDir string, kind Kind, call Call) (met Fault, hit bool, err error) {
	s := open(stateDir)
	find := func(tx *store.Tx) error {
		return store.Each(tx, faultKind, func(_ string, f Fault) error {
			if f.Kind == kind && f.Times > 0 && f.hits(call) {
				met, hit = f, true
			}
			return nil
		})
	}
	// Almost always there is no fault, so a read is enough, without a lock.
	if err := s.View(find); err != nil || !hit {
		return met, hit, err
	}
	hit = false
	err = s.Update(func(tx *store.Tx) error {
		if err := find(tx); err != nil || !hit {
			return err
		}
		met.Times--
		return errors.Join(tx.Put(faultKind, key(met), met), tx.Put(metKind, key(met), call.Name))
	})
	return met, hit, err
}

func (f Fault) hits(call Call) bool {
	named, err := path.Match(f.Name, call.Name)
	return (f.Method == "" || f.Method == call.Method) && (f.Type == "" || f.Type == call.Type) && (f.Name == "" || err == nil && named)
}

// Triggered reports whether a planted fault has hit a call.
func Triggered(stateDir string, f Fault) (hit bool, err error) {
	err = open(stateDir).View(func(tx *store.Tx) error {
		hit, err = tx.Get(metKind, key(f), new(string))
		return err
	})
	return hit, err
}

// FailIf returns an error if a Failed fault hits the call.
func FailIf(stateDir string, call Call) error {
	_, hit, err := Trigger(stateDir, Failed, call)
	if err == nil && hit {
		err = fmt.Errorf("planted fault: cannot %s %s %s", strings.ToLower(call.Method), call.Type, call.Name)
	}
	return err
}

// HangIf blocks until ctx is done if a Hang fault hits the call.
func HangIf(ctx context.Context, stateDir string, call Call) error {
	_, hit, err := Trigger(stateDir, Hang, call)
	if err != nil || !hit {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}
