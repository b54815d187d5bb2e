// Package fault is what goes wrong on purpose. Tests plant faults in a state directory, and the models of AWS, of
// machines and of clusters meet them there: each hits some calls on some resources and is then over.
package fault

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"eco2/rehearsal/store"
)

// Kind is what goes wrong.
type Kind string

// The kinds.
const (
	// Throttled: AWS refuses the call for now, longer than the provider tries.
	Throttled Kind = "throttled"
	// Unfinished: AWS has made the thing and does not finish it.
	Unfinished Kind = "unfinished"
	// Hang: what was asked for is done, and the answer does not come, until whoever asked is gone.
	Hang Kind = "hang"
	// Failed: what was asked for is refused, whatever it is, and nothing of it is done.
	Failed Kind = "failed"
	// Refused: the machine refuses connections for a while, of Seconds.
	Refused Kind = "refused"
	// Dropped: the connection breaks when the script has run and before it could say so.
	Dropped Kind = "dropped"
	// TokenExpired: the token of a join is not valid any more when kubeadm shows it.
	TokenExpired Kind = "token expired"
	// OtherContent: what is downloaded is not what was pinned.
	OtherContent Kind = "other content"
	// APIRestart: the API server is away for a moment in the middle of a release, which is taken back.
	APIRestart Kind = "API restart"
	// APIGone: the API server is away for longer than the release is tried, which stays half-made.
	APIGone Kind = "API gone"
	// Held: AWS keeps a deleted load balancer's interfaces for Seconds, at the rehearsal's factor.
	Held Kind = "held interfaces"
	// NeverReady: the pods of a release do not become ready, and it is taken back.
	NeverReady Kind = "never ready"
)

// Fault hits calls.
type Fault struct {
	Kind Kind
	// Method is the engine's call ("Create") and Type the resource's, Name a pattern of its name, as path.Match
	// has it. What is empty matches all.
	Method, Type, Name string
	// Times is how many calls it hits.
	Times int
	// Seconds are how long it lasts, where that is asked.
	Seconds float64
}

// file is what holds the faults, below the state directory.
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

// Call is what may be hit: the engine's call on a resource.
type Call struct{ Method, Type, Name string }

func open(stateDir string) *store.Store { return store.Open(filepath.Join(stateDir, file)) }

// Meet says whether a fault of this kind hits a call, and counts the hit.
func Meet(stateDir string, kind Kind, call Call) (met Fault, hit bool, err error) {
	s := open(stateDir)
	find := func(tx *store.Tx) error {
		return store.Each(tx, faultKind, func(_ string, f Fault) error {
			if f.Kind == kind && f.Times > 0 && f.hits(call) {
				met, hit = f, true
			}
			return nil
		})
	}
	// Nearly always there is no fault, and nothing to lock.
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

// Met says whether a planted fault has hit something.
func Met(stateDir string, f Fault) (hit bool, err error) {
	err = open(stateDir).View(func(tx *store.Tx) error {
		hit, err = tx.Get(metKind, key(f), new(string))
		return err
	})
	return hit, err
}

// FailIf is an error where a fault says so.
func FailIf(stateDir string, call Call) error {
	_, hit, err := Meet(stateDir, Failed, call)
	if err == nil && hit {
		err = fmt.Errorf("a planted fault refuses to %s %s %s", strings.ToLower(call.Method), call.Type, call.Name)
	}
	return err
}

// HangIf waits for the end of ctx where a fault says so.
func HangIf(ctx context.Context, stateDir string, call Call) error {
	_, hit, err := Meet(stateDir, Hang, call)
	if err != nil || !hit {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}
