// Package store stores the state of a model in a file.
//
// Several processes work on it at once (a provider plugin for AWS, one for remote commands, one for Kubernetes, and the
// driver that prints the status), so a transaction opens the file, takes its lock, and closes it again. If a process is
// killed, the file still has the state of the last finished transaction: bbolt never overwrites pages that a reader
// could need.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// lockWait limits how long a transaction waits for another process; transactions take milliseconds.
const lockWait = 30 * time.Second

// Store is a store in a file. Its zero value is not usable: call Open.
type Store struct {
	path string
	// The file lock excludes processes; goroutines of one process queue here without polling.
	mu sync.Mutex
}

// Open returns the store in a file, which the first Update creates.
func Open(path string) *Store {
	return &Store{path: path}
}

// Tx is a transaction. Objects are stored as JSON, in buckets named after their kind, by ID.
type Tx struct {
	bolt *bolt.Tx
}

// View runs fn in a read-only transaction. If the file does not exist, the store is empty.
func (s *Store) View(fn func(*Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return fn(&Tx{})
	}
	db, err := s.open(true)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing was written
	return db.View(func(tx *bolt.Tx) error { return fn(&Tx{tx}) })
}

// Update runs fn in a transaction, which is committed if fn returns nil and rolled back otherwise.
func (s *Store) Update(fn func(*Tx) error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return fmt.Errorf("creating the rehearsal's state directory: %w", err)
	}
	db, err := s.open(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Update(func(tx *bolt.Tx) error { return fn(&Tx{tx}) })
}

func (s *Store) open(readOnly bool) (*bolt.DB, error) {
	// NoSync: the model must survive a killed process, which the page cache does; it need not survive
	// a power cut, and a sync for each of thousands of resources would be most of the run.
	db, err := bolt.Open(s.path, 0o600, &bolt.Options{
		Timeout: lockWait, ReadOnly: readOnly, NoSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the rehearsal's model %s: %w", s.path, err)
	}
	return db, nil
}

// Get decodes the object of this kind and ID into v and reports whether it exists.
func (t *Tx) Get(kind, id string, v any) (bool, error) {
	b := t.bucket(kind)
	if b == nil {
		return false, nil
	}
	data := b.Get([]byte(id))
	if data == nil {
		return false, nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("reading %s %s from the model: %w", kind, id, err)
	}
	return true, nil
}

// Put stores the object of this kind and ID.
func (t *Tx) Put(kind, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %s %s to the model: %w", kind, id, err)
	}
	b, err := t.bolt.CreateBucketIfNotExists([]byte(kind))
	if err != nil {
		return fmt.Errorf("writing %s %s to the model: %w", kind, id, err)
	}
	return b.Put([]byte(id), data)
}

// Delete deletes the object of this kind and ID; it need not exist.
func (t *Tx) Delete(kind, id string) error {
	if b := t.bucket(kind); b != nil {
		return b.Delete([]byte(id))
	}
	return nil
}

// Kinds lists the kinds that have at least one object, in alphabetical order.
func (t *Tx) Kinds() ([]string, error) {
	if t.bolt == nil {
		return nil, nil
	}
	var kinds []string
	err := t.bolt.ForEach(func(name []byte, b *bolt.Bucket) error {
		if k, _ := b.Cursor().First(); k != nil {
			kinds = append(kinds, string(name))
		}
		return nil
	})
	return kinds, err
}

// Each calls fn with every object of a kind, in the order of their IDs, until fn returns an error.
func Each[T any](t *Tx, kind string, fn func(id string, v T) error) error {
	b := t.bucket(kind)
	if b == nil {
		return nil
	}
	return b.ForEach(func(id, data []byte) error {
		var v T
		if err := json.Unmarshal(data, &v); err != nil {
			return fmt.Errorf("reading %s %s from the model: %w", kind, id, err)
		}
		return fn(string(id), v)
	})
}

func (t *Tx) bucket(kind string) *bolt.Bucket {
	if t.bolt == nil {
		return nil
	}
	return t.bolt.Bucket([]byte(kind))
}
